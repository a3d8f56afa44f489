"""Goals of instance-wise unlearning, and their losses."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Goal = Literal["misclassify", "relabel", "as_unseen"]
"""``misclassify``: another answer than the true one; ``relabel``: a given one; ``as_unseen``: the answer of a model
that never saw the instance, which often is the true one."""
ForgetLoss = Literal["cross_entropy", "margin"]


def misclassify_loss(
    logits: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    loss: ForgetLoss = "cross_entropy",
    margin: float = 0.0,
) -> Float[Tensor, " n"]:
    """Return, for each instance, a loss whose minimisation leads away from the true label.

    ``"cross_entropy"``: minus the cross-entropy (Cha et al., AAAI 2024), which has no lower bound; its gradient in the
    logits is onehot(y) - p. ``"margin"`` (ours): max(0, z_y - max of the other logits + margin), which is 0
    as soon as another class wins by ``margin``.

    Args:
        logits: Logits of the forget instances.
        labels: True classes.
        loss: Kind of loss.
        margin: Margin in logits, for ``"margin"``.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> round(misclassify_loss(logits, torch.tensor([0])).item(), 4)
        -0.4076
        >>> misclassify_loss(logits, torch.tensor([0]), "margin", 0.5).item()
        1.5
    """
    if loss == "cross_entropy":
        return -functional.cross_entropy(logits, labels, reduction="none")
    return (margin + true_margin(logits, labels)).clamp_min(0)


def relabel_loss(
    logits: Float[Tensor, "n classes"],
    new_labels: Int[Tensor, " n"],
    loss: ForgetLoss = "cross_entropy",
    margin: float = 0.0,
) -> Float[Tensor, " n"]:
    """Return, for each instance, a loss whose minimisation leads to its new label.

    ``"cross_entropy"``: cross-entropy with the new label, which keeps pulling at instances that have it.
    ``"margin"`` (ours): max(0, max of the other logits - z_new + margin), which is 0 once the new label wins by
    ``margin``.

    Args:
        logits: Logits of the forget instances.
        new_labels: New label of each instance.
        loss: Kind of loss.
        margin: Margin in logits, for ``"margin"``.

    Example:
        >>> relabel_loss(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1]), "margin", 0.5).item()
        1.5
    """
    if loss == "cross_entropy":
        return functional.cross_entropy(logits, new_labels, reduction="none")
    return (margin - true_margin(logits, new_labels)).clamp_min(0)


def true_margin(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the logit of the label minus the largest other one: negative where another class is the answer.

    Example:
        >>> true_margin(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1])).item()
        -1.0
    """
    of_label = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(dim=1)
    return of_label - others


def true_label_confidence(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log(p_y / (1 - p_y)), as z_y minus the log-sum-exp of the other logits, which does not lose digits near 1.

    Example:
        >>> round(true_label_confidence(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([0])).item(), 6)
        0.686738
    """
    of_label = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).logsumexp(dim=1)
    return of_label - others
