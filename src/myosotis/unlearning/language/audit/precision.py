"""Measuring a model in another precision than that of its weights."""

from contextlib import AbstractContextManager, nullcontext

import torch

from myosotis.engine.loop import Precision
from myosotis.engine.processes import device

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def audit_autocast(precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which models compute in a precision; ``"no"`` leaves them to the type of their weights."""
    if precision == "no":
        return nullcontext()
    return torch.autocast(device().type, _DTYPES[precision])
