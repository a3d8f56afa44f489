"""Tests of :mod:`myosotis.continual.segmentation.losses`."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch.nn import functional

from myosotis.continual.segmentation.losses import (
    group_cross_entropy,
    local_pod,
    local_pod_distance,
    unbiased_distillation,
)

# Background, two old classes, a new one; a shift of all logits changes nothing.
LOGITS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log() + 1.7


NEW, OLD, ALL, SECOND = ([False, *row] for row in ([0, 0, 1], [1, 1, 0], [1, 1, 1], [0, 1, 0]))


def drawn_batch(seed, classes=6, batch=3, side=4):
    stream = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, side, side, generator=stream, dtype=torch.float64) * 3
    target = torch.randint(classes, (batch, side, side), generator=stream)
    target[torch.rand(batch, side, side, generator=stream) < 0.2] = 255
    rows = torch.rand(batch, classes, generator=stream) < 0.5
    rows[:, 0] = False
    return logits, target, rows


def by_definition(logits, target, rows):
    """The mean over all pixels, one pixel after another."""
    total = 0.0
    probabilities = logits.softmax(dim=1)
    for image in range(len(target)):
        hidden = [channel for channel in range(logits.shape[1]) if not rows[image, channel]]
        for place in (target[image] != 255).nonzero().tolist():
            row = probabilities[image, :, place[0], place[1]]
            value = int(target[image, place[0], place[1]])
            total -= (row[hidden].sum() if value in hidden else row[value]).log().item()
    return total / target.numel()


def distilled(answer, logits=LOGITS):
    old = torch.tensor(answer, dtype=torch.float64).log()
    return unbiased_distillation(logits.view(1, -1, 1, 1), old.view(1, -1, 1, 1))


@pytest.mark.parametrize(
    ("row", "value", "expected"),
    [
        (NEW, 0, 0.5108256238),
        (NEW, 1, 0.5108256238),
        (NEW, 2, 0.5108256238),
        (NEW, 3, 0.9162907319),
        (OLD, 0, 0.6931471806),
        (OLD, 1, 1.6094379124),
        (OLD, 2, 1.2039728043),
        (OLD, 3, 0.6931471806),
        (ALL, 0, 2.3025850930),
        (ALL, 3, 0.9162907319),
        (SECOND, 0, 0.3566749439),
        (NEW, 255, 0.0),
    ],
)
def test_cross_entropies_of_groups(row, value, expected, loss_and_gradient):
    assert loss_and_gradient(value, row)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("row", "value", "expected"),
    [
        (NEW, 0, [-0.0666667, -0.1333333, -0.2, 0.4]),
        (OLD, 0, [-0.1, 0.2, 0.3, -0.4]),
        (ALL, 0, [-0.9, 0.2, 0.3, 0.4]),
        (ALL, 3, [0.1, 0.2, 0.3, -0.6]),
        (NEW, 255, [0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_gradients_of_groups(row, value, expected, loss_and_gradient):
    assert loss_and_gradient(value, row)[1] == pytest.approx(expected, abs=1e-6)


def test_a_stored_scope_does_not_push_down_what_was_never_labelled(loss_and_gradient):
    stored, official = (loss_and_gradient(0, row)[1] for row in (SECOND, OLD))
    assert stored[1] <= 0
    assert official[1] == pytest.approx(0.2)


def test_ignored_pixels_and_both_means(labelled, pixels):
    logits, target = pixels([0, 255, 255, 3])
    assert group_cross_entropy(logits, target, labelled(NEW)).item() == pytest.approx(0.3567790889)
    assert group_cross_entropy(logits, target, labelled(NEW), reduce="valid").item() == pytest.approx(0.7135581778)
    logits, target = pixels([255, 255])
    logits = logits.clone().requires_grad_()
    for reduce in ("all", "valid"):
        loss = group_cross_entropy(logits, target, labelled(NEW), reduce=reduce)
        loss.backward()
        assert loss.item() == 0
        assert logits.grad.eq(0).all()


@given(st.integers(0, 2**32 - 1))
def test_every_image_has_labels_of_its_own(seed):
    logits, target, rows = drawn_batch(seed)
    assert group_cross_entropy(logits, target, rows).item() == pytest.approx(by_definition(logits, target, rows))


@given(st.integers(0, 2**32 - 1))
def test_plain_cross_entropy_is_that_of_torch(seed):
    logits, target, rows = drawn_batch(seed)
    rows[:, 1:] = True
    expected = functional.cross_entropy(logits, target, ignore_index=255, reduction="sum")
    torch.testing.assert_close(group_cross_entropy(logits, target, rows) * target.numel(), expected)


@pytest.mark.parametrize("seed", range(3))
def test_gradients_against_differences(seed):
    logits, target, rows = drawn_batch(seed, classes=4, batch=2, side=2)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda one: group_cross_entropy(one, target, rows), (logits,))


def test_the_order_of_hidden_channels_does_not_matter():
    logits, target, _ = drawn_batch(1)
    row = torch.tensor([[False, False, False, True, False, True]]).expand(3, -1)
    swapped = logits[:, [2, 0, 1, 3, 4, 5]]
    own = torch.where((target < 3), 0, target)
    one, other = (group_cross_entropy(each, own, row) for each in (logits, swapped))
    torch.testing.assert_close(one, other, rtol=1e-15, atol=0)


def test_half_precision_goes_in_and_the_loss_is_exact():
    logits, target, rows = drawn_batch(2)
    half = logits.half().requires_grad_()
    exact = logits.half().double()
    loss = group_cross_entropy(half, target, rows)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), group_cross_entropy(exact, target, rows), rtol=1e-6, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        same = group_cross_entropy(half, target, rows)
    assert same.item() == loss.item()
    loss.backward()
    assert half.grad.dtype == torch.float16


def test_a_labelled_background_is_refused(pixels):
    logits, target = pixels([0])
    with pytest.raises(ValueError, match="column 0"):
        group_cross_entropy(logits, target, torch.ones(1, 4, dtype=torch.bool))


def test_unbiased_distillation():
    assert distilled([0.5, 0.3, 0.2]).item() == pytest.approx(0.3567331750)
    logits = LOGITS.clone().requires_grad_()
    loss = distilled([0.5, 0.2, 0.3], logits)
    assert loss.item() == pytest.approx(1.0296530141 / 3)
    assert torch.autograd.grad(loss, logits)[0].abs().max() < 1e-12


def test_distillation_without_new_classes_is_plain():
    plain = -(torch.tensor([0.5, 0.3, 0.2]).double() * LOGITS[:3].log_softmax(0)).sum() / 3
    assert distilled([0.5, 0.3, 0.2], LOGITS[:3]).item() == pytest.approx(plain.item())
    assert plain.item() * 3 == pytest.approx(3 * 0.4546976191)


def test_an_answer_may_be_sharpened():
    old = torch.tensor([0.5, 0.3, 0.2]).double().log().view(1, 3, 1, 1)
    sharp = (2 * old).softmax(dim=1).log()
    logits = LOGITS.view(1, -1, 1, 1)
    torch.testing.assert_close(
        unbiased_distillation(logits, old, alpha=2.0), unbiased_distillation(logits, sharp), rtol=1e-12, atol=0
    )
    with pytest.raises(ValueError, match="5 channels, the new one 4"):
        unbiased_distillation(logits, torch.zeros(1, 5, 1, 1))


def test_local_pod_of_one_map():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    whole = [(1 + 4) / 2, (9 + 16) / 2, (1 + 9) / 2, (4 + 16) / 2]
    assert local_pod(maps, (1,)).tolist() == [whole]
    # With two regions a side each pixel is one: its square stands there for its row and for its column.
    assert local_pod(maps, (1, 2)).tolist() == [[*whole, 1, 4, 9, 16, 1, 4, 9, 16]]


def test_local_pod_distance():
    one, other = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    assert local_pod_distance(one, other, (1,)).item() == pytest.approx(0, abs=1e-5)
    other[0] = 2.0
    # Each of the four entries of the first image differs by 4: a distance of 8; of the second by nothing.
    assert local_pod_distance(one, other, (1,)).item() == pytest.approx(4.0, abs=1e-5)
    one.requires_grad_()
    local_pod_distance(one, other).backward()
    assert one.grad.isfinite().all()
    assert local_pod(torch.rand(1, 2, 7, 5)).shape == (1, 2 * (7 + 5 + 8 * 2 + 6 * 2 + 8 * 4 + 8 * 4))
    assert math.isfinite(local_pod_distance(torch.rand(1, 2, 7, 5).half(), torch.rand(1, 2, 7, 5).half()).item())
