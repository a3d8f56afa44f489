"""Logits that something can be measured on: finite ones."""

import torch
from torch import Tensor

from myosotis.engine.errors import DivergedError


def finite_logits(logits: Tensor) -> Tensor:
    """Return logits as they are.

    The greedy choice among NaN is a wrong answer, so that a broken model would look like one that has forgotten.

    Raises:
        DivergedError: A logit is infinite or NaN.

    Example:
        >>> finite_logits(torch.tensor([0.0, torch.nan]))
        Traceback (most recent call last):
        myosotis.engine.errors.DivergedError: the model's logits are not finite, so nothing can be measured: ...
    """
    # A row's sum is finite if all of it is, and takes one pass over the largest tensor there is.
    sums = logits.sum(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if not bool(torch.isfinite(sums).all()):
        raise DivergedError(
            "the model's logits are not finite, so nothing can be measured: its training diverged, or its numbers "
            f"overflow {str(logits.dtype).removeprefix('torch.')}"
        )
    return logits
