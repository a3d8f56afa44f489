"""Forward passes in evaluation mode, and with logits at labelled positions only.

The output layer is the most expensive part of a small model, and its output the largest tensor of any model.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED


def labelled_first(labels: Int[Tensor, "batch time"]) -> Int[Tensor, "batch most"]:
    """Return the labelled positions of each row, in order, padded with unlabelled ones to equal numbers.

    Args:
        labels: Shifted labels, -100 where ignored.

    Example:
        >>> labelled_first(torch.tensor([[-100, 7, 8], [-100, -100, 9]]))
        tensor([[1, 2],
                [2, 0]])
    """
    labelled = labels != IGNORED
    most = max(int(labelled.sum(dim=1).max()), 1)
    # A stable order: what is labelled comes first and stays in its sequence.
    return (~labelled).long().argsort(dim=1, stable=True)[:, :most]


def takes_positions(model: Any) -> bool:
    """Whether a model computes logits at given positions only, as those of ``transformers`` do."""
    return "logits_to_keep" in inspect.signature(without_adapter(model).forward).parameters


def without_adapter(model: Any) -> Any:
    """Return the model that PEFT has wrapped, or the model itself."""
    from peft import PeftModel  # seconds of imports, which settings of a method do not need

    return model.get_base_model() if isinstance(model, PeftModel) else model


def labelled_logits(
    model: Any, positions: Int[Tensor, "batch most"], slices: bool, **inputs: Any
) -> tuple[Any, Tensor]:
    """Call a model and return its output, and its logits at the positions of each row.

    Args:
        model: A causal language model, wrapped for several processes or not.
        positions: See :func:`labelled_first`.
        slices: Whether the model takes positions, see :func:`takes_positions`.
        inputs: Inputs of its forward pass.
    """
    if slices:
        output = model(**inputs, logits_to_keep=positions)
        return output, output.logits
    output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return output, torch.take_along_dim(logits, positions[..., None], dim=1)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients inside the context; every module's own mode is restored afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
