"""Terms and parts of single methods, against their formulas."""

import pytest
import torch
from torch.nn import functional

from myosotis.continual.scenario import data_incremental
from myosotis.continual.selfsupervised.bases import BASES, build_base
from myosotis.continual.selfsupervised.bases.base import gathered_step
from myosotis.continual.selfsupervised.contrast import nce, unit_pair
from myosotis.continual.selfsupervised.losses import (
    negative_cosine,
    pairwise_contrast,
    redundancy_reduction,
)
from myosotis.continual.selfsupervised.methods import METHODS


def outputs(one, views):
    """What network and past model make of views, without anything of the method."""
    modes = {name: value.clone() for name, value in one.net.state_dict().items()}
    found = one.net(*views)
    one.net.load_state_dict(modes)
    return found


@pytest.mark.parametrize("base", BASES)
def test_terms_of_pnr(base, in_second_task):
    one, batches = in_second_task("pnr", base)
    batch = batches[0]
    out = outputs(one, batch.views)
    past = [one.past(view)[1].detach() for view in batch.views]
    target = None if one.base.target is None else [one.base.target(view) for view in batch.views]
    queues = one.base.queue, getattr(one, "past_queue", None)
    before = None if queues[0] is None else [[queue.negatives(view).clone() for view in (0, 1)] for queue in queues]
    terms = one.loss(one.net, batch)
    if base == "moco":
        assert len(before[0][0]) == 0  # carried over from a first task without steps
        assert len(before[1][0]) == 32  # refilled
        q, p, k, r = (
            unit_pair(out.embeddings),
            unit_pair(out.distilled),
            unit_pair(tuple(target)),
            unit_pair(tuple(past)),
        )
        sets = [torch.cat([queue[view] for queue in before]) for view in (0, 1)]
        plasticity = (nce(q[0], k[1], sets[1], 0.2) + nce(q[1], k[0], sets[0], 0.2)) / 2
        stability = (nce(p[0], r[0], sets[1], 0.2) + nce(p[1], r[1], sets[0], 0.2)) / 2
        torch.testing.assert_close(terms["plasticity"], plasticity)
        torch.testing.assert_close(terms["stability"], stability)
        # What the distiller reads are unit vectors.
        torch.testing.assert_close(one.net.distiller(q[0]), out.distilled[0])
        # Now the batch is in both queues.
        torch.testing.assert_close(queues[0].negatives(0), k[0])
        assert (queues[1].negatives(1) @ r[1].T).amax(dim=0).min() > 1 - 1e-5
    elif base == "simclr":
        assert set(terms) == {"plasticity", "stability"}
        assert terms["plasticity"] > pairwise_contrast(*out.embeddings, 0.2)
    else:
        lam, mu = {"byol": (1.0, 0.5), "barlow": (1.0, 1.0), "vicreg": (25.0, 23.0)}[base]
        p, r = out.distilled, past
        if base == "byol":
            pull = (negative_cosine(p[0], r[0]) + negative_cosine(p[1], r[1])) / 2
            push = (negative_cosine(p[0], r[1]) + negative_cosine(p[1], r[0])) / 2
            torch.testing.assert_close(terms["regulariser"], lam * pull - mu * push)
        if base == "vicreg":
            pull = (functional.mse_loss(p[0], r[0]) + functional.mse_loss(p[1], r[1])) / 2
            push = (functional.mse_loss(p[0], r[1]) + functional.mse_loss(p[1], r[0])) / 2
            torch.testing.assert_close(terms["regulariser"], lam * pull - mu * push)
        alone = one.base.loss(gathered_step(batch.views, batch.samples, out, None if target is None else tuple(target)))
        torch.testing.assert_close(terms["ssl"], alone)


@pytest.mark.parametrize("method", ["pnr", "cassle"])
def test_barlow_twins_is_distilled_with_the_weights_of_the_base(method, in_second_task):
    """It used to be weighed by 5e-3 and 0.1, whatever the base was told."""
    weights = {"off_diagonal": 0.3, "scale": 2.0}
    one, batches = in_second_task(method, "barlow", {"mu": 0.0} if method == "pnr" else None, weights)
    out = outputs(one, batches[0].views)
    past = [one.past(view)[1].detach() for view in batches[0].views]
    terms = one.loss(one.net, batches[0])
    pull = sum(redundancy_reduction(p, r, **weights) for p, r in zip(out.distilled, past, strict=True)) / 2
    torch.testing.assert_close(terms["regulariser" if method == "pnr" else "distillation"], pull)


@pytest.mark.parametrize("base", BASES)
def test_gradients_reach_the_network_alone(base, in_second_task):
    one, batches = in_second_task("pnr", base)
    sum(one.loss(one.net, batches[0]).values()).backward()
    assert all(value.grad is not None for value in one.net.distiller.parameters())
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in one.net.encoder[0].parameters())
    for beside in (one.past, one.base.target):
        if beside is not None:
            assert all(value.grad is None and not value.requires_grad for value in beside.parameters())


@pytest.mark.parametrize("method", ["cassle", "pnr", "less_forget", "pfr"])
def test_the_first_task_is_that_of_the_base(method, images, learn, learner, weights_of):
    one, plain = learner(method), learner("finetune")
    assert torch.equal(weights_of(one.net.encoder), weights_of(plain.net.encoder))
    assert torch.equal(weights_of(one.net.projector), weights_of(plain.net.projector))
    scenario = data_incremental(images(), 1, test=images(48, 1))
    found = learn(method, given=one, scenario=scenario)
    expected = learn("finetune", given=plain, scenario=scenario)
    assert torch.equal(weights_of(one.net.encoder), weights_of(plain.net.encoder))
    assert found.records[0].loss == expected.records[0].loss
    if one.net.distiller is not None:
        assert torch.equal(weights_of(one.net.distiller), weights_of(learner(method).net.distiller))
    if method == "pnr":
        assert len(one.past_queue) == 0


def test_the_past_model_stays_as_it_was(in_second_task, weights_of):
    one, batches = in_second_task("pnr", "moco")
    before, answer = weights_of(one.past), one.past(batches[0].views[0])[0]
    optimizer = torch.optim.SGD(one.net.parameters(), lr=0.1)
    for _ in range(5):
        one.net.train()
        one.past.train()
        sum(one.loss(one.net, batches[0]).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        one.net.eval()
        one.net(*batches[0].views)
    assert torch.equal(weights_of(one.past), before)
    assert torch.equal(one.past(batches[0].views[0])[0], answer)
    assert not one.past.training


def test_a_sample_may_be_kept_from_meeting_itself(in_second_task):
    apart, batches = in_second_task("pnr", "moco", of_base={"exclude_same_sample": True})
    together, _ = in_second_task("pnr", "moco")
    # The queue of the past model was refilled with these very samples: what is left out lowers the loss.
    one, other = (each.loss(each.net, batches[0]) for each in (apart, together))
    assert one["plasticity"] < other["plasticity"]
    assert one["stability"] < other["stability"]
    found = apart.past_queue.same(batches[0].samples)
    assert found.any()


def test_mixtures_of_lump(in_second_task):
    one, batches = in_second_task("lump", "simclr")
    views, samples = one.mixed(batches[0])
    share = ((views[0] - batches[0].memory_views[0]) / (batches[0].views[0] - batches[0].memory_views[0])).nanmedian()
    for mixed, own, old in zip(views, batches[0].views, batches[0].memory_views, strict=True):
        torch.testing.assert_close(mixed, share * own + (1 - share) * old, atol=1e-4, rtol=0)
    assert torch.equal(samples, batches[0].samples)
    assert 0 <= float(share) <= 1


def test_dark_replay_keeps_features(in_second_task):
    one, batches = in_second_task("dark_er", "simclr", {"weight": 2.0})
    batch = batches[0]
    whole = [torch.cat(pair) for pair in zip(batch.views, batch.memory_views, strict=True)]
    out = outputs(one, whole)
    terms = one.loss(one.net, batch)
    order = {int(place): at for at, place in enumerate(one._indices)}
    wanted = one._features[[order[int(place)] for place in batch.memory_samples]]
    parts = [(features[16:] - wanted).square().mean() for features in out.features]
    torch.testing.assert_close(terms["replay"], 2.0 * (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(terms["ssl"], pairwise_contrast(out.embeddings[0][:16], out.embeddings[1][:16], 0.2))


def test_importance_of_ewc(in_second_task):
    one, batches = in_second_task("ewc", "simclr", {"weight": 3.0})
    assert len(one._anchor) == len(dict(one.net.encoder.named_parameters())) + 4
    terms = one.loss(one.net, batches[0])
    held = dict(one._regularised())
    expected = sum((one._importance[name] * (held[name] - one._anchor[name]) ** 2).sum() for name in held)
    torch.testing.assert_close(terms["penalty"], 3.0 / 2 * expected)
    assert float(expected.detach()) > 0
    assert all((value >= 0).all() for value in one._importance.values())


def test_replay_adds_samples(in_second_task):
    one, batches = in_second_task("er", "simclr")
    views, samples = one.mixed(batches[0])
    assert views[0].shape[0] == 32
    assert samples.tolist() == [*batches[0].samples.tolist(), *batches[0].memory_samples.tolist()]


@pytest.mark.parametrize(
    ("base", "own", "message"),
    [
        ("vicreg", {"mu": 25.0}, "mu must be below lam, got 25.0 and 25.0"),
        ("moco", {"mu": 0.5}, "'mu' belongs to byol, barlow, vicreg"),
        ("vicreg", {"stab_negs": "past"}, "'stab_negs' belongs to moco, simclr"),
        ("byol", {"plast_negs": "cur"}, "'plast_negs' belongs to moco, simclr"),
        ("simclr", {"past_reset": "carry"}, "'past_reset' belongs to moco"),
        ("moco", {"positive_in_denominator": False}, "'positive_in_denominator' belongs to simclr"),
    ],
)
def test_settings_of_pnr_that_do_not_fit(base, own, message, learner):
    with pytest.raises(ValueError, match=message):
        learner("pnr", base, own)


def test_the_weights_of_pnr_are_those_of_the_scenario(learn, learner, stream):
    one = learner("pnr", "vicreg", {"lam": 20.0})
    learn("pnr", "vicreg", given=one, scenario=stream("data"), learning_rate=0.005, epochs=1)  # mu is 5
    with pytest.raises(ValueError, match="mu must be below lam, got 23.0 and 20.0"):
        learn("pnr", "vicreg", given=learner("pnr", "vicreg", {"lam": 20.0}))


@pytest.mark.parametrize("where", ["base", "past"])
def test_random_queues_are_drawn_by_the_seed(where, learn, learner, weights):
    def run():
        own = {"past_reset": "random"} if where == "past" else {}
        of_base = {"queue_reset": "random"} if where == "base" else {}
        return weights(learn("pnr", given=learner("pnr", "moco", own, of_base)).learner)

    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    assert torch.equal(one, run())


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="unknown method 'cassel'; did you mean 'cassle'"):
        METHODS.settings("cassel")
    with pytest.raises(ValueError, match="unknown base 'moko'; did you mean 'moco'"):
        build_base("moko")
    with pytest.raises(ValueError, match="base 'moco', queue"):
        build_base("moco", {"queue": 0})
