"""Logits only where there is a label: the output layer is the dearest part of a small model, its output of any."""

import inspect
from typing import Any

import torch
from jaxtyping import Int
from peft import PeftModel
from torch import Tensor

from myosotis.data.encoding import IGNORED


def labelled_first(labels: Int[Tensor, "batch time"]) -> Int[Tensor, "batch most"]:
    """Return for each row its labelled positions, in order, filled up with unlabelled ones to equal numbers.

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
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    return "logits_to_keep" in inspect.signature(plain.forward).parameters


def labelled_logits(
    model: Any, positions: Int[Tensor, "batch most"], slices: bool, **inputs: Any
) -> tuple[Any, Tensor]:
    """Call a model and return its output, and its logits at the positions of each row.

    Args:
        model: A causal language model, wrapped for several processes or not.
        positions: See :func:`labelled_first`.
        slices: What :func:`takes_positions` says of it.
        inputs: Of its forward.
    """
    if slices:
        output = model(**inputs, logits_to_keep=positions)
        return output, output.logits
    output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    return output, torch.take_along_dim(logits, positions[..., None], dim=1)
