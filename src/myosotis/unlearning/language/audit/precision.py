"""Measuring a model in another precision than that of its weights."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from myosotis.engine.loop import Precision
from myosotis.engine.processes import device

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def audit_autocast(precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which models compute in a precision; ``"no"`` leaves them to the type of their weights."""
    if precision == "no":
        return nullcontext()
    return torch.autocast(device().type, _DTYPES[precision])


@contextmanager
def cached_casts(model: nn.Module) -> Iterator[None]:
    """Let autocast convert each weight once in a context, not at every step of a generation.

    It keeps what it converted only of weights that need gradients, so that all of them do meanwhile.

    Args:
        model: The model; nothing of it is trained inside.
    """
    frozen = [weight for weight in model.parameters() if weight.is_floating_point() and not weight.requires_grad]
    for weight in frozen:
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
