"""The arithmetic of task-balanced batch normalisation, in one pass over the batch and without a copy of it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)


class _BalancedNormalisation(torch.autograd.Function):
    """Normalise ``x`` with ``splits`` pairs of moments; see :func:`balanced_normalisation`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        n_current: int,
        splits: int,
        share: float,
        eps: float,
        group: Any,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the output, the mean and the biased variance of every split, and the values behind each of them."""
        space = tuple(range(2, x.ndim))
        area = x[0, 0].numel()
        numbers = x.float() if x.dtype in _HALF else x
        mean = numbers.mean(space)
        centred = numbers - _spread(mean, x.ndim)
        y = centred * centred  # its memory becomes that of the output
        spread = y.mean(space)
        rows, memory = _by_split(mean, n_current, splits)
        row_spread, memory_spread = _by_split(spread, n_current, splits)
        count = numbers.new_full((), rows.shape[0] * share + len(memory))
        total = share * rows.sum(0) + memory.sum(0)
        if group is not None:
            # One message for sums and counts.
            message = torch.cat([total.flatten(), count.reshape(1)])
            torch.distributed.all_reduce(message, group=group)
            total, count = message[:-1].view_as(total), message[-1]
        centre = total / count
        off_rows = rows - centre
        off_memory = memory.unsqueeze(1) - centre
        variance = share * (row_spread + off_rows.square()).sum(0) + (
            memory_spread.unsqueeze(1) + off_memory.square()
        ).sum(0)
        if group is not None:
            torch.distributed.all_reduce(variance, group=group)
        variance = variance / count
        inverse = (variance + eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        shift_rows, shift_memory = off_rows * scale, (off_memory * scale).mean(1)
        scales = torch.cat([scale.expand(rows.shape).flatten(0, 1), scale.mean(0).expand(memory.shape)])
        shifts = torch.cat([shift_rows.flatten(0, 1), shift_memory])
        if bias is not None:
            shifts = shifts + bias
        y = torch.addcmul(_spread(shifts, x.ndim), centred, _spread(scales, x.ndim), out=y).to(x.dtype)
        half = x.dtype in _HALF
        ctx.save_for_backward(x if half else centred, mean, centre, inverse, scales, count, weight)
        ctx.half, ctx.bias = half, bias is not None
        ctx.n_current, ctx.splits, ctx.share, ctx.group = n_current, splits, share, group
        values = count * area
        ctx.mark_non_differentiable(centre, variance, values)
        return y, centre, variance, values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        saved, mean, centre, inverse, scales, count, weight = ctx.saved_tensors
        dimensions = saved.ndim
        space = tuple(range(2, dimensions))
        area = saved[0, 0].numel()
        centred = saved.float() - _spread(mean, dimensions) if ctx.half else saved
        upstream = gradient.to(centred.dtype)
        sums = upstream.sum(space)
        dx = upstream * centred  # its memory becomes that of the gradient
        products = dx.sum(space)
        sum_rows, sum_memory = _by_split(sums, ctx.n_current, ctx.splits)
        product_rows, product_memory = _by_split(products, ctx.n_current, ctx.splits)
        rows, memory = _by_split(mean, ctx.n_current, ctx.splits)
        off_rows, off_memory = rows - centre, memory.unsqueeze(1) - centre
        # Of the scale of each split; a remembered sample is the mean of all splits' maps, so it counts 1 / r in each.
        of_scale = (product_rows + sum_rows * off_rows).sum(0) + (
            product_memory.unsqueeze(1) + sum_memory.unsqueeze(1) * off_memory
        ).sum(0) / ctx.splits
        of_shift = sum_rows.sum(0) + sum_memory.sum(0) / ctx.splits
        d_weight = None if weight is None else (of_scale * inverse).sum(0)
        d_bias = sums.sum(0) if ctx.bias else None
        if ctx.group is not None:
            message = torch.stack([of_scale, of_shift])
            torch.distributed.all_reduce(message, group=ctx.group)
            of_scale, of_shift = message[0], message[1]
        scale = inverse if weight is None else inverse * weight
        d_variance = -0.5 * scale * inverse.square() * of_scale / (count * area)
        d_centre = -scale * of_shift / (count * area)
        flat_rows = ctx.share * (2 * off_rows * d_variance + d_centre)
        flat_memory = (2 * off_memory * d_variance + d_centre).sum(1)
        slope_rows = (2 * ctx.share * d_variance).expand(rows.shape)
        slope_memory = (2 * d_variance.sum(0)).expand(memory.shape)
        flat = torch.cat([flat_rows.flatten(0, 1), flat_memory])
        slope = torch.cat([slope_rows.flatten(0, 1), slope_memory])
        dx = torch.addcmul(_spread(flat, dimensions), upstream, _spread(scales, dimensions), out=dx)
        dx = dx.addcmul_(centred, _spread(slope, dimensions)).to(gradient.dtype)
        return dx, d_weight, d_bias, None, None, None, None, None


def balanced_normalisation(
    x: Float[Tensor, "n channels *space"],
    weight: Float[Tensor, " channels"] | None,
    bias: Float[Tensor, " channels"] | None,
    *,
    n_current: int,
    splits: int,
    share: float = 1.0,
    eps: float = 1e-5,
    group: Any = None,
) -> tuple[
    Float[Tensor, "n channels *space"],
    Float[Tensor, "splits channels"],
    Float[Tensor, "splits channels"],
    Float[Tensor, ""],
]:
    """Normalise a batch of current and remembered samples by the moments of balanced splits of it.

    Split k holds the current samples i with ``i mod splits = k``, each weighing ``share``, and every remembered one. A
    current sample is normalised by its own split; a remembered one by the mean of the maps of all splits, which is
    a single affine map, so that nothing is repeated. The moments come from those of the single samples by the law of
    total variance.

    Args:
        x: Current samples first.
        weight: γ, or None.
        bias: β, or None.
        n_current: B_c, a multiple of ``splits``.
        splits: r, the number of splits.
        share: Weight of a current sample in its split: 1 for task-balanced batch normalisation.
        eps: Constant added to each variance.
        group: Process group whose batches are normalised together; None normalises this batch alone.

    Returns:
        Output; mean and biased variance of every split; number of values of each.
    """
    flat = x.unsqueeze(-1) if x.ndim == 2 else x
    y, mean, variance, values = _BalancedNormalisation.apply(  # type: ignore[no-untyped-call]
        flat, weight, bias, n_current, splits, share, eps, group
    )
    return (y.squeeze(-1) if x.ndim == 2 else y), mean, variance, values


def _by_split(values: Tensor, n_current: int, splits: int) -> tuple[Tensor, Tensor]:
    """The current samples' values as (rows, splits, channels), and those of the remembered ones."""
    return values[:n_current].view(n_current // splits, splits, values.shape[1]), values[n_current:]


def _spread(values: Tensor, dimensions: int) -> Tensor:
    """Reshape (n, channels) so that it broadcasts with (n, channels, \\*space)."""
    return values[(...,) + (None,) * (dimensions - 2)]
