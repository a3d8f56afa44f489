"""Gathering of the rows of all processes."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from myosotis.engine.processes import share


class _Gathered(torch.autograd.Function):
    """The rows of all processes; gradients flow back to each."""

    @staticmethod
    def forward(ctx, rows):  # type: ignore[no-untyped-def]
        """Return the rows of all processes, in their order."""
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(share()[1])]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        """Return the sum over processes of the gradients of this one's rows."""
        total = gradient.contiguous()
        torch.distributed.all_reduce(total)
        begin = share()[0] * ctx.count
        return total[begin : begin + ctx.count]


def gathered(rows: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "whole ..."]:
    """Return the rows of all processes, with gradients; the same tensor if there is a single process.

    Every process then computes the loss of the whole batch, and its gradients are those of all processes summed, which
    averaging over processes makes the gradient of that loss.

    Args:
        rows: Rows of this process, equally many in every process.
    """
    if share()[1] == 1:
        return rows
    joined: Tensor = _Gathered.apply(rows)  # type: ignore[no-untyped-call]
    return joined


def gathered_pair(pair: tuple[Tensor, Tensor] | None, samples: Tensor) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the rows of both views and the indices of samples of all processes.

    Raises:
        ValueError: There is no pair.
    """
    if pair is None:
        raise ValueError("there is nothing to gather")
    return (gathered(pair[0]), gathered(pair[1])), gathered(samples.to(pair[0].device))


def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean over processes; the same tensor if there is a single process."""
    if share()[1] == 1:
        return value
    total = value.clone()
    torch.distributed.all_reduce(total)
    return total / share()[1]
