"""CE-U: cross-entropy with the model's own distribution without the label."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.data.encoding import IGNORED
from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.term import Labels, Sides
from myosotis.unlearning.language.methods.token_losses import Reduction, labelled_only, put_back, reduce_tokens


def cross_entropy_unlearning_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    skipped: int = 0,
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""CE-U: cross-entropy with the model's own distribution without the label.

    $$L = \overline{-\sum_{v} q_t(v) \log p_t(v)}, \qquad q_t = \mathrm{softmax}(z_t \mid z_t(y_t) = -\infty)$$

    with q held constant (Yang, "CE-U: Cross Entropy Unlearning", 2025). The logit gradient is p - q: p at the label
    and p - p/(1 - p_y) elsewhere, so it does not vanish at a token that the model predicts with certainty.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        skipped: Number of labelled tokens at the start of each sequence that carry no loss.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`; skipped tokens do not
            count.

    Returns:
        A scalar, or (batch, time) with 0 at ignored and skipped positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other, or ``skipped`` is negative.

    Example:
        >>> cross_entropy_unlearning_loss(torch.zeros(1, 1, 4), torch.tensor([[0]]))
        tensor(1.3863)
    """
    counted = without_first(labels, skipped)
    selected, targets, labelled = labelled_only(logits, counted)
    without_label = selected.detach().scatter(-1, targets[:, None], -torch.inf)
    values = functional.cross_entropy(selected, without_label.softmax(dim=-1), reduction="none")
    return reduce_tokens(put_back(values, labelled), counted, reduction)


def without_first(labels: Int[Tensor, "batch time"], count: int) -> Int[Tensor, "batch time"]:
    """Return labels of which the first ``count`` of each row are ignored.

    Raises:
        ValueError: ``count`` is negative.

    Example:
        >>> without_first(torch.tensor([[-100, 5, 6], [7, -100, 8]]), 1)
        tensor([[-100, -100,    6],
                [-100, -100,    8]])
    """
    if count < 0:
        raise ValueError(f"the number of skipped tokens must be >= 0, got {count}")
    labelled = labels != IGNORED
    return labels.masked_fill(labelled.cumsum(dim=1) <= count, IGNORED)


@dataclass(frozen=True)
class CEU(Method):
    """CE-U on the forget set.

    Attributes:
        retain: Retain term; none by default.
        skipped: Number of tokens at the start of each answer that carry no loss.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="ceu",
        title="Cross-entropy unlearning (CE-U)",
        paper="Yang, CE-U: Cross Entropy Unlearning, 2025",
        reads="forget",
        memory="none",
        purpose="Redistributes the label's probability over the other tokens; no reference.",
    )
    term: ClassVar[str] = "forget_cross_entropy"
    retain: RetainName | None = None
    skipped: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skipped < 0:
            raise ValueError(f"skipped must be >= 0, got {self.skipped}")

    def counted(self, labels: Labels) -> Labels:
        return without_first(labels, self.skipped)

    def losses(self, sides: Sides) -> Tensor:
        return cross_entropy_unlearning_loss(sides.forget.logits, sides.forget.labels, self.skipped, "none")
