"""Log-probabilities of labelled tokens, and the reduction of per-token losses to a scalar.

All functions, and the losses of the methods beside them, take **already shifted** tensors: ``logits[:, t]`` predicts
``labels[:, t]``, and a label of -100 is ignored. The softmax is always taken in float32 or better, whatever the dtype
of the logits: near p = 1 the resolution of bfloat16 is 0.004. A batch without any label gives 0 with zero gradient.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.data.encoding import IGNORED

Reduction = Literal["token", "sequence", "none"]


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 3 or labels.ndim != 2 or logits.shape[:2] != labels.shape:
        raise ValueError(
            f"expected logits (batch, time, vocab) and labels (batch, time), got {tuple(logits.shape)} and "
            f"{tuple(labels.shape)}; shift them first: logits[:, :-1], labels[:, 1:]"
        )


def at_least_float32(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 where they are that already."""
    return values if values.dtype == torch.float64 else values.float()


def labelled_only(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> tuple[Float[Tensor, "count vocab"], Int[Tensor, " count"], Bool[Tensor, "batch time"]]:
    """Return logits (in float32 or better) and labels of the labelled positions, and the mask of these positions."""
    _check(logits, labels)
    labelled = labels != IGNORED
    return at_least_float32(logits[labelled]), labels[labelled].long(), labelled


def put_back(values: Float[Tensor, " count"], labelled: Bool[Tensor, "batch time"]) -> Float[Tensor, "batch time"]:
    """Return the values of labelled positions as (batch, time), 0 at ignored positions."""
    return values.new_zeros(labelled.shape).masked_scatter(labelled, values)


def reduce_tokens(
    values: Float[Tensor, "batch time"], labels: Int[Tensor, "batch time"], reduction: Reduction
) -> Float[Tensor, "..."]:
    """Reduce per-token values that are 0 where ignored.

    Args:
        values: One value per position.
        labels: The labels; -100 marks ignored positions.
        reduction: ``"token"``: mean over labelled tokens; ``"sequence"``: mean over sequences with a label of their
            means; ``"none"``: the values as they are.

    Returns:
        A scalar, or (batch, time) for ``"none"``.

    Raises:
        ValueError: The reduction is unknown.

    Example:
        >>> values, labels = torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([[5, -100], [5, 5]])
        >>> reduce_tokens(values, labels, "token"), reduce_tokens(values, labels, "sequence")
        (tensor(2.), tensor(2.2500))
    """
    if reduction == "none":
        return values
    counts = (labels != IGNORED).sum(dim=1)
    if reduction == "token":
        return values.sum() / counts.sum().clamp(min=1)
    if reduction == "sequence":
        means = values.sum(dim=1) / counts.clamp(min=1)
        return means.sum() / (counts > 0).sum().clamp(min=1)
    raise ValueError(f"reduction must be 'token', 'sequence' or 'none', got {reduction!r}")


def token_log_probs(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, "batch time"]:
    """Return log p(label) of every labelled position, 0 at ignored ones.

    Example:
        >>> token_log_probs(torch.zeros(1, 2, 4), torch.tensor([[1, -100]]))
        tensor([[-1.3863,  0.0000]])
    """
    selected, targets, labelled = labelled_only(logits, labels)
    return put_back(-functional.cross_entropy(selected, targets, reduction="none"), labelled)


def sequence_log_probs(
    logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, " batch"]:
    """Return log p(labels of the sequence), the sum over its labelled tokens, in nats.

    Example:
        >>> sequence_log_probs(torch.zeros(1, 2, 4), torch.tensor([[1, 2]]))
        tensor([-2.7726])
    """
    return token_log_probs(logits, labels).sum(dim=1)
