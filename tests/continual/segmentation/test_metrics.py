"""Tests of :mod:`myosotis.continual.segmentation.metrics`."""

import math

import pytest
import torch

from myosotis.continual.segmentation.metrics import (
    channel_iou,
    confusion,
    forgetting,
    group_figures,
    intersection_over_union,
    mean_iou_over_images,
)

TABLE = torch.tensor([[50, 5, 0, 5], [4, 20, 0, 0], [0, 0, 0, 0], [6, 0, 2, 8]])


def drawn_masks(classes=5, seed=0):
    stream = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (4, 9, 7), generator=stream)
    target[torch.rand(target.shape, generator=stream) < 0.1] = 255
    predicted = torch.where(torch.rand(target.shape, generator=stream) < 0.6, target.clamp(max=classes - 1), 0)
    return predicted, target


def test_intersection_over_union():
    iou = intersection_over_union(TABLE)
    assert iou.tolist() == pytest.approx([0.7142857, 0.6896552, 0, 0.3809524], abs=1e-7)
    figures = group_figures(iou, [1, 2])
    assert figures.all == pytest.approx(0.4462233, abs=1e-7)
    assert figures.base == pytest.approx(0.6896552, abs=1e-7)
    assert figures.base_with_background == pytest.approx((0.7142857 + 0.6896552) / 2, abs=1e-7)
    assert figures.new == pytest.approx(0.3809524 / 2, abs=1e-7)
    assert figures.harmonic == pytest.approx(2 * 0.6896552 * 0.1904762 / (0.6896552 + 0.1904762), abs=1e-6)
    assert figures.absent == 0
    assert group_figures(iou, [3]).base == pytest.approx(0.3568692, abs=1e-7)


def test_what_is_neither_there_nor_answered_does_not_count():
    table = TABLE.clone()
    table[3, 0], table[3, 2] = 8, 0
    iou = intersection_over_union(table)
    assert math.isnan(iou[2])
    figures = group_figures(iou, [1, 2])
    assert figures.absent == 1
    assert figures.new == pytest.approx(8 / 21)
    assert group_figures(iou, [3]).new is group_figures(iou, [3]).harmonic is None
    assert group_figures(torch.tensor([0.9, 0.0, 0.0]).double(), [1, 1]).harmonic == 0


def test_a_group_without_figures_has_none():
    found = group_figures(torch.tensor([0.5, 0.5, math.nan]), (1, 1))
    assert found.new is found.harmonic is None
    assert (found.all, found.base, found.absent) == (0.5, 0.5, 1)
    found = group_figures(torch.full((2,), math.nan), (1,))
    assert found.all is found.base is found.base_with_background is None


def test_a_background_that_is_nowhere_does_not_count():
    assert channel_iou([[0, 0], [3, 5]]).isnan().tolist() == [True, False]
    assert channel_iou([[1, 0], [3, 5]])[0].item() == pytest.approx(0.25)


def test_forgetting_counts_from_the_best():
    nan = math.nan
    history = [torch.tensor(row) for row in ([0.9, 0.6, nan], [0.8, 0.7, 0.5, 0.2], [0.85, 0.4, nan, 0.3, 0.1])]
    assert forgetting(history) == [pytest.approx(0.05), pytest.approx(0.3), None, pytest.approx(0.0)]
    assert forgetting(history[:1]) == []


def test_confusion_counts_pixels():
    predicted, target = drawn_masks()
    table = confusion(predicted, target, 5)
    for true in range(5):
        for answer in range(5):
            assert table[true, answer] == ((target == true) & (predicted == answer)).sum()
    assert table.sum() == (target != 255).sum()


def test_torchmetrics_agrees():
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    predicted, target = drawn_masks(seed=3)
    table = torchmetrics.MulticlassConfusionMatrix(5, ignore_index=255)(predicted, target)
    assert torch.equal(table, confusion(predicted, target, 5))
    theirs = torchmetrics.MulticlassJaccardIndex(5, ignore_index=255, average="none")(predicted, target)
    torch.testing.assert_close(theirs.double(), intersection_over_union(table), rtol=1e-6, atol=0)


def images_of(predicted, target):
    tables = [confusion(*pair, 3) for pair in zip(predicted, target, strict=True)]
    return torch.stack([torch.stack([table.diagonal(), table.sum(1), table.sum(0)]) for table in tables])


def test_mean_iou_over_images_is_that_of_the_whole_set():
    target = torch.randint(0, 3, (12, 6, 6), generator=torch.Generator().manual_seed(0))
    predicted = torch.where(torch.rand(12, 6, 6, generator=torch.Generator().manual_seed(1)) < 0.7, target, 0)
    table = confusion(predicted, target, 3)
    intervals = mean_iou_over_images(images_of(predicted, target), 1)
    iou = intersection_over_union(table)
    assert intervals["all"].mean == pytest.approx(iou.mean().item())
    assert intervals["base"].mean == pytest.approx(iou[1].item())
    assert intervals["all"].low < intervals["all"].mean < intervals["all"].high
    assert intervals["above_majority"].low > 0


def test_predicting_one_channel_everywhere_is_not_above_the_majority():
    target = torch.randint(0, 3, (12, 6, 6), generator=torch.Generator().manual_seed(0))
    target[:, :4] = 0
    intervals = mean_iou_over_images(images_of(torch.zeros_like(target), target), 1)
    assert intervals["all"].mean == pytest.approx(intervals["majority"].mean)
    assert intervals["above_majority"].low <= 0


def test_the_jackknife_agrees_with_leaving_images_out_one_by_one():
    target = torch.randint(0, 3, (7, 5, 5), generator=torch.Generator().manual_seed(2))
    predicted = torch.randint(0, 3, (7, 5, 5), generator=torch.Generator().manual_seed(3))
    whole = intersection_over_union(confusion(predicted, target, 3)).mean().item()
    rest = [[other for other in range(7) if other != image] for image in range(7)]
    left_out = [intersection_over_union(confusion(predicted[own], target[own], 3)).mean().item() for own in rest]
    error = (6 / 7 * sum((value - sum(left_out) / 7) ** 2 for value in left_out)) ** 0.5
    interval = mean_iou_over_images(images_of(predicted, target), 1)["all"]
    assert (interval.low + interval.high) / 2 == pytest.approx(whole)
    assert (interval.high - interval.low) / 2 == pytest.approx(2.446912 * error, rel=1e-5)


def test_without_a_true_pixel_there_is_no_interval():
    assert mean_iou_over_images(torch.zeros(0, 3, 3, dtype=torch.long), 1) == {}
