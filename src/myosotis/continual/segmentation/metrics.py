"""Figures of class-incremental segmentation from a confusion matrix over a test set."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.masks import IGNORE


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


@dataclass(frozen=True)
class GroupFigures:
    """Mean IoU of groups of channels; absent ones do not count.

    Attributes:
        all: Mean of all channels, background included; None if no channel of a group has an IoU, as for the others.
        base: Mean of the classes of the first task.
        base_with_background: Mean of the classes of the first task and the background.
        new: Mean of the classes of later tasks.
        harmonic: Harmonic mean of base and new; 0 if either is 0, None if either is None.
        absent: Number of channels without an IoU.
    """

    all: float | None
    base: float | None
    base_with_background: float | None
    new: float | None
    harmonic: float | None
    absent: int


def group_figures(iou: Float[Tensor, " classes"], sizes: Sequence[int]) -> GroupFigures:
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
    return GroupFigures(_mean(iou), first, _mean(iou[: 1 + sizes[0]]), later, harmonic, int(iou.isnan().sum()))


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
