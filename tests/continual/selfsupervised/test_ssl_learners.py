"""Every method over every base on a tiny stream: what it minimises, what it keeps, and that it goes on where it was."""

import math
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental, data_incremental, domain_incremental
from myosotis.continual.selfsupervised.bases import BASES, build_base
from myosotis.continual.selfsupervised.bases.base import gathered_step
from myosotis.continual.selfsupervised.batches import ViewBatches
from myosotis.continual.selfsupervised.contrast import nce, unit_pair
from myosotis.continual.selfsupervised.learner import SslTask
from myosotis.continual.selfsupervised.losses import negative_cosine, pairwise_contrast, redundancy_reduction
from myosotis.continual.selfsupervised.measuring import Measured, Measuring, ProbeSettings, Transfer, stream_figures
from myosotis.continual.selfsupervised.methods import METHODS, build_learner, check_settings
from myosotis.continual.selfsupervised.momentum import MomentumCopy, momentum_at
from myosotis.continual.selfsupervised.network import encoder_width
from myosotis.continual.selfsupervised.training import SslSettings, check_ssl, learn_representations
from myosotis.data.images import ImageSet
from myosotis.data.views import ViewSettings

VIEWS = ViewSettings(area=(0.5, 1.0), hue=0, saturation=0, grey=0)
PROBES = ProbeSettings(shares=(0.5,), drift_samples=24)


def images(count=96, seed=0, classes=4):
    """Grey images in which each class is bright at another corner."""
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 90, (count, 1, 8, 8), generator=stream)
    labels = torch.arange(count) % classes
    for place, label in enumerate(labels.tolist()):
        top, left = 4 * (label // 2), 4 * (label % 2)
        pixels[place, :, top : top + 4, left : left + 4] += 120
    names = tuple(f"{seed}-{place:03d}" for place in range(count))
    return ImageSet(pixels.byte(), labels, names, tuple("abcd")[:classes])


def stream(kind="class", **options):
    train, test = images(**options), images(48, 1)
    if kind == "data":
        return data_incremental(train, 3, test=test)
    if kind == "domain":
        inverted = [replace(one, images=255 - one.images) for one in (train, test)]
        return domain_incremental([train, inverted[0]], tests=[test, inverted[1]])
    return class_incremental(train, 2, 2, test=test)


def encoder(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )


SMALL = {
    "moco": {"dim": 8, "hidden": 16, "queue": 32},
    "simclr": {"dim": 8, "hidden": 16},
    "byol": {"dim": 8, "hidden": 16},
    "barlow": {"dim": 8, "hidden": 16},
    "vicreg": {"dim": 8, "hidden": 16},
}


def learner(method="finetune", base="moco", own=None, of_base=None, seed=0):
    own = dict(own or {})
    if "hidden" in vars(check_settings(method)):
        own.setdefault("hidden", 16)
    if method == "ewc":
        own = {"group": 4, "groups": 4, **own}
    return build_learner(method, own, build_base(base, SMALL[base] | (of_base or {})), encoder(seed), 32, seed)


def settings(**options):
    return SslSettings(**{"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "views": VIEWS, **options})


def learn(method="finetune", base="moco", *, given=None, scenario=None, seed=0, checkpoints=None, own=None, **options):
    one = learner(method, base, own) if given is None else given
    memory = ExemplarMemory(total=12 if METHODS[method].reads_memory else 0, selection="reservoir", seed=seed)
    return learn_representations(
        one,
        stream() if scenario is None else scenario,
        memory,
        settings(**options),
        PROBES,
        seed=seed,
        checkpoints=checkpoints,
        shown=10,
    )


def weights(one):
    return torch.cat([value.flatten().double() for value in one.net.state_dict().values()])


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_over_every_base(method, base):
    outcome = learn(method, base)
    assert len(outcome.records) == (1 if method == "joint" else 2)
    assert weights(outcome.learner).isfinite().all()
    last = outcome.records[-1]
    assert set(last.loss) <= {"ssl", "plasticity", "stability", "regulariser", "distillation", "replay", "penalty"}
    assert 0 <= last.measured.linear_all <= 1
    assert len(last.measured.linear) == 2
    assert last.exemplars == (12 if METHODS[method].reads_memory else 0)
    assert not torch.equal(weights(outcome.learner), weights(learner(method, base)))


# What is minimised ----------------------------------------------------------------------------------------------------


def in_second_task(method, base, own=None, of_base=None):
    """A learner in its second task, and two batches of it."""
    one = learner(method, base, own, of_base)
    scenario = stream()
    places = scenario[1].train.indices
    some = ViewBatches(
        scenario.train.images, places, torch.arange(20), size=16, memory_size=16, views=VIEWS, seed=0, device="cpu"
    )

    def look():
        return ((batch.views, batch.samples) for batch in some(0))

    def plain(at):
        return scenario.train.images[at].float() / 255

    one.net.train()
    one.before_task(SslTask(0, look, plain))
    one.after_task(SslTask(0, look, plain), torch.arange(20))
    with torch.no_grad():
        for value in one.net.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    one.before_task(SslTask(1, look, plain))
    return one, list(some(1))


def outputs(one, views):
    """What network and past model make of views, without anything of the method."""
    modes = {name: value.clone() for name, value in one.net.state_dict().items()}
    found = one.net(*views)
    one.net.load_state_dict(modes)
    return found


@pytest.mark.parametrize("base", BASES)
def test_terms_of_pnr(base):
    one, batches = in_second_task("pnr", base)
    batch = batches[0]
    out = outputs(one, batch.views)
    past = [one.past(view)[1].detach() for view in batch.views]
    target = None if one.base.target is None else [one.base.target(view) for view in batch.views]
    queues = one.base.queue, getattr(one, "past_queue", None)
    before = None if queues[0] is None else [[queue.negatives(view) for view in (0, 1)] for queue in queues]
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
def test_barlow_twins_is_distilled_with_the_weights_of_the_base(method):
    """It used to be weighed by 5e-3 and 0.1, whatever the base was told."""
    weights = {"off_diagonal": 0.3, "scale": 2.0}
    one, batches = in_second_task(method, "barlow", {"mu": 0.0} if method == "pnr" else None, weights)
    out = outputs(one, batches[0].views)
    past = [one.past(view)[1].detach() for view in batches[0].views]
    terms = one.loss(one.net, batches[0])
    pull = sum(redundancy_reduction(p, r, **weights) for p, r in zip(out.distilled, past, strict=True)) / 2
    torch.testing.assert_close(terms["regulariser" if method == "pnr" else "distillation"], pull)


@pytest.mark.parametrize("base", BASES)
def test_gradients_reach_the_network_alone(base):
    one, batches = in_second_task("pnr", base)
    sum(one.loss(one.net, batches[0]).values()).backward()
    assert all(value.grad is not None for value in one.net.distiller.parameters())
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in one.net.encoder[0].parameters())
    for beside in (one.past, one.base.target):
        if beside is not None:
            assert all(value.grad is None and not value.requires_grad for value in beside.parameters())


@pytest.mark.parametrize("method", ["cassle", "pnr", "less_forget", "pfr"])
def test_the_first_task_is_that_of_the_base(method):
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


def weights_of(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def test_the_past_model_stays_as_it_was():
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


def test_a_sample_may_be_kept_from_meeting_itself():
    apart, batches = in_second_task("pnr", "moco", of_base={"exclude_same_sample": True})
    together, _ = in_second_task("pnr", "moco")
    # The queue of the past model was refilled with these very samples: what is left out lowers the loss.
    one, other = (each.loss(each.net, batches[0]) for each in (apart, together))
    assert one["plasticity"] < other["plasticity"]
    assert one["stability"] < other["stability"]
    found = apart.past_queue.same(batches[0].samples)
    assert found.any()


def test_mixtures_of_lump():
    one, batches = in_second_task("lump", "simclr")
    views, samples = one.mixed(batches[0])
    share = ((views[0] - batches[0].memory_views[0]) / (batches[0].views[0] - batches[0].memory_views[0])).nanmedian()
    for mixed, own, old in zip(views, batches[0].views, batches[0].memory_views, strict=True):
        torch.testing.assert_close(mixed, share * own + (1 - share) * old, atol=1e-4, rtol=0)
    assert torch.equal(samples, batches[0].samples)
    assert 0 <= float(share) <= 1


def test_dark_replay_keeps_features():
    one, batches = in_second_task("dark_er", "simclr", {"weight": 2.0})
    batch = batches[0]
    whole = [torch.cat(pair) for pair in zip(batch.views, batch.memory_views, strict=True)]
    out = outputs(one, whole)
    terms = one.loss(one.net, batch)
    order = {int(place): at for at, place in enumerate(one._places)}
    wanted = one._stored[[order[int(place)] for place in batch.memory_samples]]
    parts = [(features[16:] - wanted).square().mean() for features in out.features]
    torch.testing.assert_close(terms["replay"], 2.0 * (parts[0] + parts[1]) / 2)
    torch.testing.assert_close(terms["ssl"], pairwise_contrast(out.embeddings[0][:16], out.embeddings[1][:16], 0.2))


def test_importance_of_ewc():
    one, batches = in_second_task("ewc", "simclr", {"weight": 3.0})
    assert len(one._anchor) == len(dict(one.net.encoder.named_parameters())) + 4
    terms = one.loss(one.net, batches[0])
    held = dict(one._held())
    expected = sum((one._importance[name] * (held[name] - one._anchor[name]) ** 2).sum() for name in held)
    torch.testing.assert_close(terms["penalty"], 3.0 / 2 * expected)
    assert float(expected.detach()) > 0
    assert all((value >= 0).all() for value in one._importance.values())


def test_replay_adds_samples():
    one, batches = in_second_task("er", "simclr")
    views, samples = one.mixed(batches[0])
    assert views[0].shape[0] == 32
    assert samples.tolist() == [*batches[0].samples.tolist(), *batches[0].memory_samples.tolist()]


# Momentum, batches, encoders ------------------------------------------------------------------------------------------


def test_a_momentum_copy_follows():
    encoder_, projector = nn.Linear(2, 2), nn.Linear(2, 2)
    copy_ = MomentumCopy(encoder_, projector)
    first = copy_.encoder.weight.clone()
    with torch.no_grad():
        encoder_.weight.add_(1.0)
    copy_.follow(encoder_, projector, 0.9)
    torch.testing.assert_close(copy_.encoder.weight, first + 0.1)
    assert momentum_at(0, 0.99, 0.999) == pytest.approx(0.99)
    assert momentum_at(1, 0.99, 0.999) == pytest.approx(0.999)


def test_the_copy_moves_once_a_step_with_the_momentum_of_the_moment(monkeypatch):
    seen = []
    monkeypatch.setattr(MomentumCopy, "follow", lambda _, __, ___, momentum: seen.append(momentum))
    learn("finetune", "moco", epochs=2)
    # Two tasks of 48 samples: three steps an epoch.
    expected = [momentum_at(step / 6, 0.99, 0.999) for step in range(6)]
    assert seen == pytest.approx(expected * 2)


def test_batches_depend_on_seed_and_epoch_alone():
    def made(epoch, seed=0):
        some = ViewBatches(
            images().images, torch.arange(40), torch.arange(50, 60), size=16, memory_size=8, views=VIEWS, seed=seed
        )
        return list(some(epoch))

    one, again, later, other = made(0), made(0), made(1), made(0, 1)
    assert len(one) == 2
    for batch, same in zip(one, again, strict=True):
        assert torch.equal(batch.views[0], same.views[0])
        assert torch.equal(batch.samples, same.samples)
        assert len(batch.memory_samples) == 8
        assert set(batch.memory_samples.tolist()) <= set(range(50, 60))
    assert not torch.equal(one[0].samples, later[0].samples)
    assert not torch.equal(one[0].samples, other[0].samples)
    everyone = torch.cat([batch.samples for batch in one])
    assert len(everyone.unique()) == 32
    with pytest.raises(ValueError, match="a task of 40 images is smaller than a batch of 64"):
        ViewBatches(images().images, torch.arange(40), torch.arange(0), size=64, memory_size=0, views=VIEWS, seed=0)


def test_the_width_of_an_encoder():
    assert encoder_width(encoder(), torch.rand(1, 8, 8)) == 32
    with pytest.raises(ValueError, match=r"must return \(batch, features\), but returns \(1, 4, 8, 8\)"):
        encoder_width(nn.Conv2d(1, 4, 3, padding=1), torch.rand(1, 8, 8))
    with pytest.raises(ValueError, match="does not take images of"):
        encoder_width(encoder(), torch.rand(3, 8, 8))


class Two(nn.Module):
    def forward(self, x):
        return x, x


def test_an_encoder_that_returns_no_tensor():
    with pytest.raises(ValueError, match="returns tuple"):
        encoder_width(Two(), torch.rand(1, 8, 8))


# A stream -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["class", "data", "domain"])
def test_what_is_measured(kind):
    other = Transfer("corners", images(40, 3), images(40, 4))
    outcome = learn_representations(
        learner(),
        stream(kind),
        ExemplarMemory(total=0),
        settings(),
        PROBES.model_copy(update={"mode": "balanced", "per_class": 6}),
        transfer=(other,),
        shown=0,
    )
    tasks = 3 if kind == "data" else 2
    for measured in (outcome.before, *(record.measured for record in outcome.records)):
        assert len(measured.linear) == len(measured.knn) == tasks
        assert set(measured.transfer) == {"corners"}
        # Equal test sets: the mean over tasks is the accuracy on everything.
        assert measured.linear_all == pytest.approx(sum(measured.linear) / tasks)
        if kind == "data":
            assert len(set(measured.linear)) == 1
    assert outcome.before.drift is None
    assert all(record.measured.drift > 0 for record in outcome.records)
    assert set(outcome.few_labels) == {"0.5"}
    assert outcome.maps == {}


def test_figures_of_a_stream_by_hand():
    def at(linear, overall):
        return Measured(linear, linear, overall, overall, {}, None)

    before = at([0.3, 0.4, 0.5], 0.4)
    history = [at([0.8, 0.5, 0.6], 0.6), at([0.6, 0.9, 0.7], 0.7), at([0.7, 0.8, 0.9], 0.8)]
    found = stream_figures(before, history)
    assert found["final"] == 0.8
    assert found["learning"] == pytest.approx((0.8 + 0.9 + 0.9) / 3)
    assert found["forgetting"] == pytest.approx((0.1 + 0.1) / 2)
    assert found["stability"] == pytest.approx((-0.1 - 0.1) / 2)
    assert found["forward_transfer"] == pytest.approx((0.1 + 0.2) / 2)
    assert found["gain"] == pytest.approx(0.4)
    single = stream_figures(before, history[-1:])
    assert single["forgetting"] is None
    assert single["learning"] is None
    assert single["final"] == 0.8


@pytest.mark.parametrize(
    ("method", "base"),
    [
        ("pnr", "moco"),
        ("cassle", "byol"),
        ("lump", "barlow"),
        ("dark_er", "simclr"),
        ("ewc", "moco"),
        ("joint", "vicreg"),
    ],
)
def test_a_stream_that_stopped_in_the_middle_of_a_task_goes_on(method, base, tmp_path):
    whole = learn(method, base, epochs=3)
    given, calls = learner(method, base), []
    plain = given.loss
    steps = 3 * (6 if method == "joint" else 3)
    last = steps // 3 + 1 if method == "joint" else steps + 4

    def loss(net, batch):
        calls.append(1)
        if len(calls) > last:
            raise KeyboardInterrupt
        return plain(net, batch)

    given.loss = loss
    with pytest.raises(KeyboardInterrupt):
        learn(method, base, given=given, epochs=3, checkpoints=tmp_path)
    resumed = learn(method, base, epochs=3, checkpoints=tmp_path)
    assert torch.equal(weights(whole.learner), weights(resumed.learner))
    assert [record.measured.linear for record in whole.records] == [
        record.measured.linear for record in resumed.records
    ]
    assert resumed.before == whole.before
    if whole.learner.past is not None:
        assert torch.equal(weights_of(whole.learner.past), weights_of(resumed.learner.past))
        assert not torch.equal(weights_of(whole.learner.past.encoder), weights_of(whole.learner.net.encoder))
    for name, value in whole.learner.end_state().items():
        assert torch.equal(value, resumed.learner.end_state()[name]), name
    assert all(torch.equal(whole.maps[name], resumed.maps[name]) for name in whole.maps)


@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_losses_of_a_task_outlive_a_stop_after_its_last_epoch(checkpoint_every, tmp_path):
    """Between the last epoch and the end of a task encoders are probed; a run killed there lost the task's losses."""

    def stop(number, _):
        if number == 1:
            raise KeyboardInterrupt

    arguments = (stream(), ExemplarMemory(total=0), settings(), PROBES)
    saved = {"checkpoints": tmp_path, "checkpoint_every": checkpoint_every}
    whole = learn_representations(learner(), *arguments)
    with pytest.raises(KeyboardInterrupt):
        learn_representations(learner(), *arguments, **saved, on_task=stop)
    resumed = learn_representations(learner(), *arguments, **saved)
    assert [record.loss for record in resumed.records] == [record.loss for record in whole.records]
    assert all(record.loss for record in resumed.records)


def test_seeds_and_optimisers():
    one, same, other = learn(), learn(), learn(seed=1)
    assert torch.equal(weights(one.learner), weights(same.learner))
    assert not torch.equal(weights(one.learner), weights(other.learner))
    for optimizer in ("lars", "adamw"):
        found = learn(optimizer=optimizer, warmup=1, accumulate=2, max_grad_norm=1.0, learning_rate=0.01)
        assert weights(found.learner).isfinite().all()
        assert found.records[0].steps == 2 * 2


def test_half_precision():
    for base in BASES:
        found = learn("pnr", base, precision="bf16")
        assert all(math.isfinite(value) for value in found.records[-1].loss.values())


@pytest.mark.parametrize(
    ("method", "base", "own", "options", "memory", "message"),
    [
        ("er", "moco", {}, {}, 0, "'er' needs a 'memory'"),
        ("finetune", "moco", {}, {}, 4, "'finetune' reads no stored samples"),
        ("finetune", "moco", {}, {"memory_batch_size": 4}, 0, "leave 'memory_batch_size' out"),
        ("lump", "moco", {}, {"memory_batch_size": 4}, 4, "'lump' mixes each sample"),
        ("finetune", "moco", {}, {"batch_size": 40}, 0, "a queue of 32 is smaller than a batch of 40"),
        ("er", "moco", {}, {"batch_size": 20}, 4, "a queue of 32 is smaller than a batch of 40"),
        ("finetune", "simclr", {}, {"batch_size": 1}, 0, "batch_size"),
        ("finetune", "simclr", {}, {"batch_size": 64}, 0, "a task has 48 images, fewer than a batch of 64"),
        ("joint", "simclr", {}, {"batch_size": 128}, 0, "a task has 96 images, fewer than a batch of 128"),
        ("ewc", "simclr", {"group": 17}, {}, 0, "a batch of 16 is smaller than 'group', 17"),
        ("finetune", "simclr", {}, {"warmup": 2}, 0, "a warm-up of 2 epochs leaves nothing of 2"),
    ],
)
def test_what_does_not_go_together(method, base, own, options, memory, message):
    with pytest.raises(ValueError, match=message):
        check_ssl(
            learner(method, base, own),
            stream(),
            ExemplarMemory(total=memory, selection="reservoir"),
            settings(**options),
        )


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
def test_settings_of_pnr_that_do_not_fit(base, own, message):
    with pytest.raises(ValueError, match=message):
        learner("pnr", base, own)


def test_the_weights_of_pnr_are_those_of_the_scenario():
    one = learner("pnr", "vicreg", {"lam": 20.0})
    learn("pnr", "vicreg", given=one, scenario=stream("data"), learning_rate=0.005, epochs=1)  # mu is 5
    with pytest.raises(ValueError, match="mu must be below lam, got 23.0 and 20.0"):
        learn("pnr", "vicreg", given=learner("pnr", "vicreg", {"lam": 20.0}))


@pytest.mark.parametrize("where", ["base", "past"])
def test_random_queues_are_drawn_by_the_seed(where):
    def run():
        own = {"past_reset": "random"} if where == "past" else {}
        of_base = {"queue_reset": "random"} if where == "base" else {}
        return weights(learn("pnr", given=learner("pnr", "moco", own, of_base)).learner)

    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    assert torch.equal(one, run())


def test_lars_scales_without_weight_decay():
    def change(decay):
        one = learner("finetune", "simclr")
        before = weights_of(one.net.projector)
        learn("finetune", "simclr", given=one, optimizer="lars", learning_rate=0.01, weight_decay=decay, epochs=1)
        return (weights_of(one.net.projector) - before).norm()

    assert change(0.0) == pytest.approx(float(change(1e-6)), rel=0.05)


def test_shares_are_of_all_labels():
    probes = PROBES.model_copy(update={"mode": "balanced", "per_class": 4})
    scenario, one = stream(), learner()
    measuring = Measuring(scenario, probes, "cpu")
    seen = []
    plain = one.features
    one.features = lambda images: (seen.append(len(images)), plain(images))[1]
    measuring.few_labels(one)
    assert sorted(seen) == [48, 48]  # test images; half of 96 training images


def test_small_memories_are_not_repeated_unless_mixed():
    common = {"size": 16, "memory_size": 16, "views": VIEWS, "seed": 0}
    for again, count in ((False, 5), (True, 16)):
        some = ViewBatches(images().images, torch.arange(40), torch.arange(50, 55), again=again, **common)
        batch = next(some(0))
        assert len(batch.memory_samples) == count


def test_names_that_do_not_exist():
    with pytest.raises(ValueError, match="unknown method 'cassel'; did you mean 'cassle'"):
        check_settings("cassel")
    with pytest.raises(ValueError, match="unknown base 'moko'; did you mean 'moco'"):
        build_base("moko")
    with pytest.raises(ValueError, match="base 'moco', queue"):
        build_base("moco", {"queue": 0})


# Several processes ----------------------------------------------------------------------------------------------------

TWO = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.continual.selfsupervised.learner import SslBatch, SslTask

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
views = torch.rand(2, 8, 1, 4, 4)
samples = torch.arange(8)
grads = {}
for name in ("moco", "simclr", "vicreg"):
    settings = {"dim": 6, "hidden": 8}
    if name == "moco":
        settings["queue"] = 8
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))
    learner = build_learner("less_forget", {}, build_base(name, settings), encoder, 6, 0)
    # Batch statistics are those of each process; without them both ways must agree.
    for part in (learner.net, learner.base):
        for module in part.modules():
            for key, child in list(module.named_children()):
                if isinstance(child, nn.BatchNorm1d):
                    setattr(module, key, nn.Identity())
    learner.before_task(SslTask(1, lambda: iter(()), None))
    wrapped = DistributedDataParallel(learner.net)
    mine = slice(4 * rank, 4 * rank + 4)
    batch = SslBatch((views[0, mine], views[1, mine]), samples[mine], None, samples[:0], 0)
    sum(learner.loss(wrapped, batch).values()).backward()
    grads[name] = {key: value.grad.clone() for key, value in learner.net.named_parameters() if value.grad is not None}
    if learner.base.queue is not None:
        grads["queue"] = learner.base.queue.samples.clone()
if rank == 0:
    torch.save(grads, sys.argv[1])
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.processes
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    outcomes = {}
    for count in (1, 2):
        text = TWO if count == 2 else TWO.replace("slice(4 * rank, 4 * rank + 4)", "slice(0, 8)")
        script.write_text(text)
        place = tmp_path / f"{count}.pt"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        done = subprocess.run(
            [*command, str(script), str(place)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert place.is_file(), done.stderr
        outcomes[count] = torch.load(place, weights_only=True)
    for name in ("moco", "simclr", "vicreg"):
        one, two = outcomes[1][name], outcomes[2][name]
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, two[key], rtol=1e-4, atol=1e-6)
            assert value.abs().sum() > 0
    assert outcomes[2]["queue"].tolist() == outcomes[1]["queue"].tolist() == list(range(8))
