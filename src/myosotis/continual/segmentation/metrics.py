"""Figures of class-incremental segmentation from a confusion matrix over a test set."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.continual.segmentation.result import GroupIoU
from myosotis.data.masks import IGNORE
from myosotis.evaluation.intervals import Interval, student_interval


def confusion(
    predicted: Int[Tensor, "*shape"], target: Int[Tensor, "*shape"], classes: int
) -> Int[Tensor, "classes classes"]:
    """Return the number of pixels of each channel (rows) predicted as each channel (columns), without ignored ones.

    Args:
        predicted: Predicted channels.
        target: True channels, or 255 for ignored pixels.
        classes: Number of channels.
    """
    valid = target != IGNORE
    pairs = target[valid] * classes + predicted[valid]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def intersection_over_union(table: Int[Tensor, "classes classes"]) -> Float[Tensor, " classes"]:
    """Return the IoU of each channel; NaN if it is neither in the truth nor predicted.

    Example:
        >>> table = torch.tensor([[50, 5, 0, 5], [4, 20, 0, 0], [0, 0, 0, 0], [6, 0, 2, 8]])
        >>> [round(value, 4) for value in intersection_over_union(table).tolist()]
        [0.7143, 0.6897, 0.0, 0.381]
    """
    counts = table.double()
    correct = counts.diagonal()
    return correct / (counts.sum(0) + counts.sum(1) - correct)


def channel_iou(confusion: Sequence[Sequence[int]]) -> Float[Tensor, " classes"]:
    """Return the IoU of each channel; NaN for a background without test pixels, whatever was predicted.

    Args:
        confusion: Pixels of each channel (rows) that were predicted as each (columns).
    """
    table = torch.tensor(confusion)
    iou = intersection_over_union(table)
    iou[0] = torch.where(table[0].sum() > 0, iou[0], torch.nan)
    return iou


def group_figures(iou: Float[Tensor, " classes"], sizes: Sequence[int]) -> GroupIoU:
    """Return mean IoU by groups.

    Args:
        iou: IoU of each channel; NaN for absent ones.
        sizes: Number of classes of each task so far.
    """
    base, new = iou[1 : 1 + sizes[0]], iou[1 + sizes[0] :]
    first, later = _mean(base), _mean(new)
    harmonic = None
    if first is not None and later is not None:
        harmonic = 2 * first * later / (first + later) if first + later > 0 else 0.0
    return GroupIoU(
        all=_mean(iou),
        base=first,
        base_with_background=_mean(iou[: 1 + sizes[0]]),
        new=later,
        harmonic=harmonic,
        absent=int(iou.isnan().sum()),
    )


def mean_iou_over_images(
    pixels: Int[Tensor, "images 3 classes"], first: int, level: float = 0.95
) -> dict[str, Interval]:
    """Return mean IoU figures with intervals over images, by the jackknife.

    Each image is left out in turn; the pseudo-values have an interval by Student's t (Efron and Stein, "The jackknife
    estimate of variance", The Annals of Statistics 1981). Channels count as in :func:`group_figures`.

    Args:
        pixels: Of each image and channel: pixels that are predicted rightly, that are true, that are predicted.
        first: Classes of the first task.
        level: Level of confidence.

    Returns:
        ``all``: mean of all channels; ``base``: of the classes of the first task; ``majority``: what predicting the
        most frequent channel everywhere would give; ``above_majority``: ``all`` less ``majority``.
    """
    total = pixels.sum(0)
    true_channels, majority = total[1] > 0, int(total[1].argmax())
    counted = true_channels | (total[2] > 0)
    counted[0] = true_channels[0]
    base = torch.zeros_like(counted)
    base[1 : 1 + first] = counted[1 : 1 + first]
    if not bool(true_channels.any()):
        return {}

    def figures(counts: Tensor) -> Tensor:
        right, true, predicted = counts.double().unbind(-2)
        iou = right / (true + predicted - right).clamp(min=1)
        everywhere = true[..., majority] / true.sum(-1).clamp(min=1) / true_channels.sum()
        mean = iou[..., counted].mean(-1)
        return torch.stack([mean, iou[..., base].mean(-1), everywhere, mean - everywhere], dim=-1)

    count, overall = len(pixels), figures(total)
    left_out = figures(total - pixels) if count > 1 else overall[None]
    pseudo = count * overall - (count - 1) * left_out
    names = ("all", "base", "majority", "above_majority")
    intervals = {}
    for name, mean, values in zip(names, overall.tolist(), pseudo.unbind(1), strict=True):
        if not bool(values.isnan().any()):
            ends = student_interval(values, level=level)
            shift = mean - ends.mean
            low, high = (None if end is None else end + shift for end in (ends.low, ends.high))
            intervals[name] = Interval(mean, low, high, count, count)
    return intervals


def forgetting(history: Sequence[Float[Tensor, " _"]]) -> list[float | None]:
    """Return, for each channel but those of the last task, its best IoU so far less the final one; None if absent."""
    final = history[-1]
    lost: list[float | None] = []
    for channel in range(len(history[-2]) if len(history) > 1 else 0):
        values = [iou[channel] for iou in history if channel < len(iou)]
        known = [float(value) for value in values if not value.isnan()]
        lost.append(None if not known or final[channel].isnan() else max(known) - float(final[channel]))
    return lost


def _mean(values: Tensor) -> float | None:
    known = values[~values.isnan()]
    return float(known.mean()) if len(known) else None
