"""Terms and parts of single methods, against their formulas."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationState
from myosotis.continual.segmentation.losses import (
    local_pod_distance,
)
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.methods import METHODS
from myosotis.continual.segmentation.methods.dkd_m import decomposed, labelled_binary
from myosotis.continual.segmentation.methods.plop import median_entropies
from myosotis.continual.segmentation.methods.ssul_m import spectral_residual, summed_binary
from myosotis.continual.segmentation.training import learn_segments
from myosotis.engine.fingerprint import weights_hash


def test_terms_of_mib_with_memory(a_batch, grown):
    batch = a_batch()
    for name, own, row in (
        ("mib_m", {}, [1, 2, 3]),
        ("mib_augm", {"scope": "old"}, [1, 2]),
        ("mib_augm", {"scope": "stored"}, [1, 2]),
    ):
        one, _ = grown(name, own)
        terms = one.loss(one.net, batch)
        probabilities = one.net(batch.images).logits.softmax(1)
        losses = []
        for image in range(4):
            shown = [3] if image < 2 else row
            hidden = [channel for channel in range(4) if channel not in shown]
            grouped = probabilities[image, hidden].sum(0)
            each = torch.zeros(12, 12)
            for place in (batch.target[image] != 255).nonzero().tolist():
                value = int(batch.target[image, place[0], place[1]])
                right = grouped if value in hidden else probabilities[image, value]
                each[place[0], place[1]] = -right[place[0], place[1]].log()
            losses.append(each.mean())
        assert terms["unbiased"].item() == pytest.approx(torch.stack(losses[:2]).mean().item() / 2, rel=1e-5)
        assert terms["memory"].item() == pytest.approx(torch.stack(losses[2:]).mean().item() / 2, rel=1e-5)
        # The old network's probabilities are kept by balanced heads: its entropy, over its channels.
        old = one.teacher(batch.images).logits.softmax(1)
        entropy = torch.special.entr(old).sum(1).mean().item() / 3
        assert terms["distillation"].item() == pytest.approx(10 * entropy, rel=1e-4)


def test_a_stored_scope_reads_the_label_of_each_exemplar(a_batch, grown):
    batch = a_batch()
    other = SegmentationBatch(batch.images, batch.target.clamp(max=1), batch.labelled.clone(), 2)
    other.labelled[3, 2] = False
    stored, _ = grown("mib_augm", {"scope": "stored"})
    official, _ = grown("mib_augm", {"scope": "old"})
    assert stored.remembered(other).tolist() == [[False, True, True, False], [False, True, False, False]]
    assert official.remembered(other).tolist() == [[False, True, True, False]] * 2
    assert official.all_labelled(1).tolist() == [[False, True, True, True]]


def test_the_old_network_is_asked_once_a_batch(a_batch, grown):
    for name in METHODS:
        if name == "joint":
            continue
        one, _ = grown(name, {"pseudo_labels": True} if name == "finetune" else None)
        one.thresholds = torch.ones(3)
        calls = []
        one.teacher.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        one.loss(one.net, a_batch())
        assert len(calls) == 1, name


def test_fused_weights(grown):
    one, state = grown("ewf")
    old, new = one.teacher.state_dict(), {name: value.clone() for name, value in one.net.state_dict().items()}
    with torch.no_grad():
        for value in one.net.parameters():
            value.add_(1.0)
    one.after_task(state)
    share = math.sqrt(1 / 4)  # one new class, two old ones and the background
    for name, value in one.net.state_dict().items():
        if name in old and value.is_floating_point() and "normalize" not in name:
            torch.testing.assert_close(value, (1 - share) * old[name] + share * (new[name] + 1))
        elif name in ("heads.weights.2", "heads.biases.2"):
            torch.testing.assert_close(value, new[name] + 1)


def test_a_frozen_body_stays(learn, learner, stream, train_settings):
    outcome = learn("ssul_m")
    first = learn("ssul_m", scenario=stream(), iterations=12)
    body = {name: value for name, value in outcome.learner.net.state_dict().items() if name.startswith("body")}
    one = learner("ssul_m")
    states = []
    learn_segments(
        one,
        stream(),
        SegmentationMemory(8),
        train_settings(),
        on_task=lambda _, at: states.append({key: value.clone() for key, value in at.net.state_dict().items()}),
    )
    assert all(torch.equal(states[0][name], value) for name, value in body.items())
    assert not torch.equal(states[0]["heads.biases.0"], states[1]["heads.biases.0"])
    assert torch.equal(states[0]["heads.weights.1"], states[2]["heads.weights.1"])
    assert weights_hash(first.learner.net) == weights_hash(outcome.learner.net)


def test_summed_binary_and_unknown_scores(grown):
    logits = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    target = torch.tensor([[[1, 255]]])
    softplus = functional.softplus(torch.tensor([0.5, 1.0, 2.0])).sum().item()
    every = torch.ones(1, 3, dtype=torch.bool)
    assert summed_binary(logits, target, every).item() == pytest.approx(softplus / 2)
    every[:, 2] = False
    without = functional.softplus(torch.tensor([0.5, 1.0])).sum().item()
    assert summed_binary(logits, target, every).item() == pytest.approx(without / 2)
    one, _ = grown("ssul_m")
    pixels = torch.rand(1, 3, 12, 12)
    one.net.eval()
    outputs = one.net(pixels).logits.sigmoid()
    scores = one.scores(pixels)
    assert scores.shape[1] == outputs.shape[1] - 1 == 4
    torch.testing.assert_close(scores[:, 0], torch.maximum(outputs[:, 0], outputs[:, -1]))
    torch.testing.assert_close(scores[:, 1:], outputs[:, 1:-1])


def test_what_stands_out():
    pixels = 0.5 + 0.1 * torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels[:, :, 12:18, 14:20] = 1.0
    found = spectral_residual(pixels)
    assert found.min() == 0
    assert found.max() == 1
    inside, outside = found[0, 11:19, 13:21].mean(), found[0, :8].mean()
    assert inside > 3 * outside
    assert spectral_residual(torch.zeros(1, 3, 8, 8)).isfinite().all()


def test_decomposed_parts_add_up(grown):
    one, _ = grown("dkd_m")
    features = torch.randn(2, 8, 3, 3)
    positive, negative = decomposed(one.net.heads, features)
    bias = torch.cat(list(one.net.heads.biases))[1:]
    torch.testing.assert_close(positive + negative + bias[None, :, None, None], one.net.heads(features)[:, 1:])
    # The auxiliary output does not reach the features.
    pixels = torch.rand(1, 3, 12, 12)
    one.net(pixels).logits[:, 0].sum().backward()
    assert all(value.grad is None or value.grad.eq(0).all() for value in one.net.body.parameters())
    assert one.net.heads.biases[0].grad.abs().sum() > 0


def test_binary_losses_count_what_is_labelled():
    logits = torch.tensor([3.0, 0.5, -1.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    target = torch.tensor([[[1, 255]]])
    labelled = torch.tensor([[False, True, False]])
    own = functional.softplus(torch.tensor(-0.5)).item()
    assert labelled_binary(logits, target, labelled).item() == pytest.approx(own / 2)
    assert labelled_binary(logits, target, labelled, 2.0).item() == pytest.approx(own)
    both = torch.tensor([[False, True, True]])
    other = functional.softplus(torch.tensor(-1.0)).item()
    assert labelled_binary(logits, target, both).item() == pytest.approx((own + other) / 2)


def test_an_answer_of_independent_outputs(grown):
    one, _ = grown("dkd_m")
    one.net.eval()
    assert one.scores(torch.rand(1, 3, 12, 12))[:, 0].eq(0.5).all()


def test_median_entropies_are_exact(learner):
    teacher = learner("finetune")
    teacher.grow(0, 2)
    batch = SegmentationBatch(
        torch.rand(3, 3, 12, 12), torch.randint(2, (3, 12, 12)) * 255, torch.zeros(3, 4, dtype=torch.bool), 3
    )
    state = SegmentationState((2, 1), lambda: iter([batch]), 0)
    found = median_entropies(teacher.net, state)
    with torch.no_grad():
        probabilities = teacher.net(batch.images).logits.softmax(1)
    entropy = torch.special.entr(probabilities).sum(1) / math.log(3)
    for channel in range(3):
        some = entropy[(probabilities.argmax(1) == channel) & (batch.target == 0)]
        expected = some.sort().values[(len(some) - 1) // 2] if len(some) else 1.0
        assert found[channel].item() == pytest.approx(float(expected))


def test_plop_weighs_an_image_by_the_background_that_counts(a_batch, grown):
    one, _ = grown("plop", {"features": 0.0, "logits": 0.0})
    batch = a_batch(2, 0)
    one.thresholds = torch.zeros(3)  # nothing is sure: no background counts
    assert one.loss(one.net, batch)["cross_entropy"].item() == 0
    one.thresholds = torch.ones(3)  # everything is
    full = one.loss(one.net, batch)["cross_entropy"].item()
    answer = one.teacher(batch.images).logits.argmax(1)
    target = torch.where(batch.target == 0, answer, batch.target)
    expected = functional.cross_entropy(one.net(batch.images).logits, target, ignore_index=255, reduction="sum")
    assert full == pytest.approx(expected.item() / target.numel(), rel=1e-5)
    assert one.loss(one.net, batch)["features"].item() == 0


def test_plop_takes_new_logits_for_background(a_batch, grown):
    one, _ = grown("plop", {"features": 0.0, "logits": 1.0})
    batch = a_batch(2, 0)
    one.thresholds = torch.ones(3)
    with torch.no_grad():
        # Without the shift of balanced heads new logits of nothing leave the old ones as they were.
        one.net.heads.weights[-1].zero_()
        one.net.heads.biases[-1].zero_()
        one.net.heads.biases[0].copy_(one.teacher.heads.biases[0])
        assert one.loss(one.net, batch)["logits"].item() == pytest.approx(0, abs=1e-4)
        one.net.heads.biases[-1].fill_(0.5)
        small = one.teacher(batch.images).small
        moved = torch.cat([small[:, :1] + 0.5, small[:, 1:]], dim=1)
        layers = len(one.teacher(batch.images).maps) + 1
        expected = math.sqrt(4 / 1) * local_pod_distance(moved, small) / (layers + 1)
        assert one.loss(one.net, batch)["logits"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_plop_begins_with_balanced_heads_and_has_a_least_median(a_batch, grown):
    one, _ = grown("plop", {"least": 0.5})
    assert torch.equal(one.net.heads.weights[-1], one.net.heads.weights[0])
    batch = a_batch(2, 0)
    one.thresholds = torch.zeros(3)
    some = one.loss(one.net, batch)["cross_entropy"].item()
    one.thresholds = torch.full((3,), 0.5)
    assert one.loss(one.net, batch)["cross_entropy"].item() == some


def test_exemplars_of_ssul_say_nothing_of_classes_that_came_later(a_batch, grown):
    one, _ = grown("ssul_m")
    batch = a_batch()
    one.loss(
        one.net,
        replace(batch, images=batch.images[2:], target=batch.target[2:], labelled=batch.labelled[2:], n_current=0),
    )["cross_entropy"].backward()
    assert one.net.heads.weights[-1].grad.abs().sum() == 0
    assert one.net.heads.weights[1].grad.abs().sum() > 0
    one.loss(one.net, batch)["cross_entropy"].backward()
    assert one.net.heads.weights[-1].grad.abs().sum() > 0


def test_joint_training_sees_every_label_so_far(learn, learner):
    given = learner("joint")
    seen, plain = [], given.loss
    given.loss = lambda net, batch: (seen.append(set(batch.target.unique().tolist())), plain(net, batch))[1]
    learn("joint", given=given)
    assert set().union(*seen[:12]) == {0, 1, 2}
    assert set().union(*seen[12:24]) == {0, 1, 2, 3, 4}
    assert set().union(*seen[24:]) == {0, 1, 2, 3, 4, 5}
