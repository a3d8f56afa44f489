"""The arithmetic of task-balanced batch normalisation, without a repetition of the remembered samples."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
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
        numbers = x.float() if x.dtype in _HALF else x
        # Double precision, in which squares of means may be subtracted, and no product is rounded to fewer bits.
        kind = np.float32 if x.device.type == "mps" else np.float64  # it has no other
        if x.device.type == "cpu":
            weigh, share_out = map(torch.from_numpy, _matrices(len(x), n_current, splits, share, kind))
        else:
            # Made there: two copies from the host, for each layer and step, would each wait for the device.
            weigh, share_out = matrices_on(x.device, len(x), n_current, splits, share, kind)
        mean = numbers.mean(space)
        y = numbers - _spread(mean, x.ndim)
        spread = y.square_().mean(space)  # the memory becomes that of the output
        mean, spread = mean.to(weigh.dtype), spread.to(weigh.dtype)
        count = weigh.sum(1, keepdim=True)
        total = weigh @ mean
        if group is not None:
            # One message for sums and counts.
            message = torch.cat([total, count], dim=1)
            torch.distributed.all_reduce(message, group=group)
            total, count = message[:, :-1], message[:, -1:]
        centre = total / count
        square = weigh @ torch.addcmul(spread, mean, mean)
        if group is not None:
            torch.distributed.all_reduce(square, group=group)
        variance = torch.addcmul(square / count, centre, centre, value=-1).clamp_(min=0)
        inverse = (variance + eps).rsqrt()
        scale = inverse if weight is None else inverse * weight
        shift = -centre * scale if bias is None else torch.addcmul(bias.to(scale.dtype), centre, scale, value=-1)
        scales = (share_out @ scale).to(numbers.dtype)
        shifts = (share_out @ shift).to(numbers.dtype)
        y = torch.addcmul(_spread(shifts, x.ndim), numbers, _spread(scales, x.ndim), out=y).to(x.dtype)
        values = (count * x[0, 0].numel())[0, 0]
        ctx.save_for_backward(x, centre, inverse, scales, values, weight, weigh, share_out)
        ctx.bias, ctx.group = None if bias is None else bias.dtype, group
        ctx.mark_non_differentiable(centre, variance, values)
        return y, centre, variance, values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``x``, ``weight`` and ``bias``."""
        x, centre, inverse, scales, values, weight, weigh, share_out = ctx.saved_tensors
        space = tuple(range(2, x.ndim))
        numbers = x.float() if x.dtype in _HALF else x
        upstream = gradient.to(numbers.dtype)
        sums = upstream.sum(space).to(centre.dtype)
        dx = upstream * numbers  # its memory becomes that of the gradient
        products = dx.sum(space).to(centre.dtype)
        # A remembered sample is the mean of all splits' maps, so it counts 1 / r in each.
        of_shift = share_out.T @ sums
        of_scale = torch.addcmul(share_out.T @ products, centre, of_shift, value=-1)
        d_weight = None if weight is None else (of_scale * inverse).sum(0).to(weight.dtype)
        d_bias = None if ctx.bias is None else of_shift.sum(0).to(ctx.bias)
        if ctx.group is not None:
            message = torch.stack([of_scale, of_shift])
            torch.distributed.all_reduce(message, group=ctx.group)
            of_scale, of_shift = message[0], message[1]
        scale = inverse if weight is None else inverse * weight
        d_square = inverse.square() * scale * of_scale / values
        slope = -(weigh.T @ d_square)
        flat = weigh.T @ torch.addcmul(scale * of_shift / -values, centre, d_square)
        slope, flat = slope.to(dx.dtype), flat.to(dx.dtype)
        dx = torch.addcmul(_spread(flat, x.ndim), upstream, _spread(scales, x.ndim), out=dx)
        dx = dx.addcmul_(numbers, _spread(slope, x.ndim)).to(gradient.dtype)
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
    a single affine map, so that nothing is repeated. The moments of splits come from those of the single samples, by
    the law of total variance in double precision.

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
    with torch.autocast(x.device.type, enabled=False):
        y, mean, variance, values = _BalancedNormalisation.apply(  # type: ignore[no-untyped-call]
            flat, weight, bias, n_current, splits, share, eps, group
        )
    return (y.squeeze(-1) if x.ndim == 2 else y), mean, variance, values


@lru_cache(maxsize=32)
def _matrices(
    count: int, n_current: int, splits: int, share: float, kind: type[np.floating[Any]]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The weight of each sample in each split, (splits, n), and that of each split in a sample's map, (n, splits).

    Arrays, since a tensor that is made in inference mode, or as a fake one, would go to every later caller.
    """
    belongs = np.arange(splits)[:, None] == np.arange(n_current) % splits
    remembered = np.ones((splits, count - n_current))
    weigh = np.concatenate([share * belongs, remembered], axis=1)
    share_out = np.concatenate([belongs, remembered / splits], axis=1).T
    return weigh.astype(kind), np.ascontiguousarray(share_out, dtype=kind)


def matrices_on(
    device: torch.device, count: int, n_current: int, splits: int, share: float, kind: type[np.floating[Any]]
) -> tuple[Tensor, Tensor]:
    """Return the same as :func:`_matrices`, made on a device without a copy from the host."""
    dtype = torch.float32 if kind is np.float32 else torch.float64
    samples, numbers = torch.arange(count, device=device), torch.arange(splits, device=device)[:, None]
    remembered = samples >= n_current
    belongs = (numbers == samples % splits) & ~remembered
    weigh = belongs.to(dtype) * share + remembered
    share_out = (belongs.to(dtype) + remembered.to(dtype) / splits).T.contiguous()
    return weigh, share_out


def _spread(values: Tensor, dimensions: int) -> Tensor:
    """Reshape (n, channels) so that it broadcasts with (n, channels, \\*space)."""
    return values[(...,) + (None,) * (dimensions - 2)]
