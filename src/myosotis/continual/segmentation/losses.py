"""Losses for masks whose background may hide classes, in at least single precision."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.data.masks import IGNORE

Reduce = Literal["all", "valid"]


class _GroupCrossEntropy(torch.autograd.Function):
    """The loss of every pixel, without a copy of the logits: the gradient takes a single buffer."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, rows: Sequence[tuple[slice, list[int]]]) -> Tensor:
        total = logits.logsumexp(dim=1)
        valid = target != IGNORE
        own = target.where(valid, 0)
        group = torch.empty_like(total)
        hidden = torch.empty_like(valid)
        for part, channels in rows:
            # Runs of neighbouring channels are views; only their log-sum-exps take memory.
            runs = [logits[part, start:stop].logsumexp(dim=1) for start, stop in _runs(channels)]
            summed = runs[0]
            for run in runs[1:]:
                summed = torch.logaddexp(summed, run)
            group[part] = summed
            hidden[part] = torch.isin(own[part], torch.tensor(channels, device=own.device))
        true = logits.gather(1, own.unsqueeze(1)).squeeze(1)
        ctx.save_for_backward(logits, total, group, own, hidden & valid, valid)
        ctx.rows = rows
        return torch.where(valid, total - torch.where(hidden, group, true), 0)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        logits, total, group, own, hidden, valid = ctx.saved_tensors
        weight = upstream[0] * valid
        gradient = torch.sub(logits, total.unsqueeze(1)).exp_().mul_(weight.unsqueeze(1))
        for part, channels in ctx.rows:
            of_group = weight[part] * hidden[part]
            for start, stop in _runs(channels):
                share = torch.sub(logits[part, start:stop], group[part].unsqueeze(1)).exp_()
                gradient[part, start:stop].sub_(share.mul_(of_group.unsqueeze(1)))
        gradient.scatter_add_(1, own.unsqueeze(1), -(weight * ~hidden).unsqueeze(1))
        return gradient, None, None


def group_cross_entropy(
    logits: Float[Tensor, "batch classes height width"],
    target: Int[Tensor, "batch height width"],
    labelled: Bool[Tensor, "batch classes"],
    reduce: Reduce = "all",
) -> Float[Tensor, ""]:
    """Return the cross-entropy of masks that label some classes only.

    ``target`` 0, or any class that is not labelled, means any class that is not labelled, background included:
    ``-log sum_{c not labelled} p_c``; a labelled class c means itself, ``-log p_c``. One primitive for

    - plain cross-entropy: all classes labelled;
    - the unbiased one of MiB (Cermelli et al., CVPR 2020): the new ones;
    - that of MiB-AugM for exemplars (Kwak, Cha, Moon, ECCV 2024): the old ones, so that background may be new;
    - the same with what was labelled when the exemplar was stored.

    Args:
        logits: Channel 0 is the background.
        target: Channels, or 255 for ignored pixels.
        labelled: Whether the mask of an image labels a channel; column 0 is False. It is read on the host, so there it
            should be.
        reduce: Mean over ``"all"`` pixels, as in the papers' code, ignored ones counting as 0, or over the ``"valid"``
            ones.

    Raises:
        ValueError: Column 0 is not False.

    Example:
        >>> logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().view(1, 4, 1, 1)
        >>> new = torch.tensor([[False, False, False, True]])
        >>> round(group_cross_entropy(logits, torch.zeros(1, 1, 1).long(), new).item(), 4)
        0.5108
    """
    if bool(labelled[:, 0].any()):
        raise ValueError("the background, column 0, is never labelled")
    patterns = [tuple(row) for row in labelled.tolist()]
    rows, start = [], 0
    for pattern, equal in groupby(patterns):
        stop = start + len(list(equal))
        rows.append((slice(start, stop), [channel for channel, is_labelled in enumerate(pattern) if not is_labelled]))
        start = stop
    with torch.autocast(logits.device.type, enabled=False):
        # Gather and scatter do not take bytes.
        losses: Tensor = _GroupCrossEntropy.apply(_at_least_single(logits), target.long(), rows)  # type: ignore[no-untyped-call]
    total = losses.sum()
    if reduce == "all":
        return total / target.numel()
    return total / (target != IGNORE).sum().clamp(min=1)


def one_hot_channels(target: Int[Tensor, "n height width"], channels: int) -> Bool[Tensor, "n channels height width"]:
    """Return whether a pixel is of a channel, for each channel; torch's ``one_hot`` would read values on the host.

    Example:
        >>> one_hot_channels(torch.tensor([[[1, 0]]]), 2).int().tolist()
        [[[[0, 1]], [[1, 0]]]]
    """
    return torch.arange(channels, device=target.device)[:, None, None] == target[:, None]


def unbiased_distillation(
    logits: Float[Tensor, "batch classes height width"],
    old: Float[Tensor, "batch known height width"],
    alpha: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the distillation of MiB, in which the old background may be new (Cermelli et al., CVPR 2020).

    ``-(1 / n_old) sum_{c < n_old} q_c log p'_c`` with ``q = softmax(alpha z_old)``, ``p'_0`` the probability of
    background or any new class and ``p'_c = p_c``; the mean over all pixels. ``n_old`` counts the background.

    Args:
        logits: Logits of the network in training; new classes come last.
        old: Logits of the old network.
        alpha: Factor that sharpens the prediction of the old network.

    Raises:
        ValueError: The old network knows more classes.
    """
    known, count = old.shape[1], logits.shape[1]
    if known > count:
        raise ValueError(f"the old network has {known} channels, the new one {count}")
    with torch.autocast(logits.device.type, enabled=False):
        new = _at_least_single(logits)
        target = (alpha * _at_least_single(old)).softmax(dim=1)
        background = torch.cat([new[:, :1], new[:, known:]], dim=1).logsumexp(dim=1)
        expected = target[:, 0] * background + (target[:, 1:] * new[:, 1:known]).sum(dim=1)
        return (new.logsumexp(dim=1) - expected).mean() / known


def local_pod(maps: Float[Tensor, "batch channels height width"], scales: Sequence[int] = (1, 2, 4)) -> Tensor:
    """Return the local POD embedding of PLOP (Douillard et al., CVPR 2021): pooled squares at several scales.

    For each scale s the map is cut into s x s regions; in each, the squares are averaged over the width and over the
    height. A map with sides that s does not divide is pooled to the next multiple of s.

    Args:
        maps: Feature maps of a layer.
        scales: Number of regions along each side.

    Returns:
        Embedding of each image.
    """
    squares = maps.float().square() if maps.dtype in (torch.float16, torch.bfloat16) else maps.square()
    height, width = squares.shape[2:]
    pooled = []
    for scale in scales:
        tall, wide = -(-height // scale), -(-width // scale)
        rows = functional.adaptive_avg_pool2d(squares, (tall * scale, scale))
        columns = functional.adaptive_avg_pool2d(squares, (scale, wide * scale))
        pooled += [rows.flatten(1), columns.flatten(1)]
    return torch.cat(pooled, dim=1)


def local_pod_distance(
    maps: Float[Tensor, "batch channels height width"],
    old: Float[Tensor, "batch channels height width"],
    scales: Sequence[int] = (1, 2, 4),
) -> Float[Tensor, ""]:
    """Return the mean Euclidean distance between the local POD embeddings of two layers.

    Args:
        maps: Feature maps of the network in training.
        old: Feature maps of the old network.
        scales: Number of regions along each side, see :func:`local_pod`.
    """
    difference = local_pod(maps, scales) - local_pod(old, scales)
    # The root has no gradient at 0.
    return (difference.square().sum(dim=1) + 1e-12).sqrt().mean()


def _runs(channels: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive channels as ranges."""
    runs: list[tuple[int, int]] = []
    for channel in channels:
        if runs and runs[-1][1] == channel:
            runs[-1] = (runs[-1][0], channel + 1)
        else:
            runs.append((channel, channel + 1))
    return runs


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
