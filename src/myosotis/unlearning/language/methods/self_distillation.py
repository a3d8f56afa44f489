"""Distillation towards the model's own distribution without the label: UNDIAL and CE-U."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.losses import IGNORED, Reduction, labelled_only, put_back, reduce_tokens
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.term import (
    ReferenceKind,
    SideName,
    Sides,
    Term,
    per_unit,
    reference_logits,
)


def undial_loss(
    logits: Float[Tensor, "batch time vocab"],
    reference_logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    beta: float = 10.0,
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""UNDIAL: cross-entropy with the old model's distribution whose label logit was lowered by beta.

    $$L = \overline{-\sum_v q_t(v) \log p_t(v)}, \qquad q_t = \mathrm{softmax}(z_t^0 - \beta\, e_{y_t})$$

    (Dong et al., "UNDIAL: Self-Distillation with Adjusted Logits for Robust Unlearning in Large Language Models",
    NAACL 2025.) Prompt and padding are left out; released code averages over them, and there the ignored label -100
    lowers the logit of a token counted from the vocabulary's end.

    Args:
        logits: Shifted logits of the model.
        reference_logits: Shifted logits before unlearning.
        labels: Shifted labels, -100 where ignored.
        beta: How far the label's logit is lowered, > 0.
        reduction: See :func:`~myosotis.unlearning.language.methods.losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other, or ``beta`` is not positive.

    Example:
        >>> uniform = torch.zeros(1, 1, 4)
        >>> undial_loss(uniform, uniform, torch.tensor([[0]]))
        tensor(1.3863)
    """
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta}")
    kept, targets, labelled = labelled_only(logits, labels)
    reference, _, _ = labelled_only(reference_logits, labels)
    lowered = reference - beta * functional.one_hot(targets, reference.shape[-1])
    values = functional.cross_entropy(kept, lowered.softmax(dim=-1), reduction="none")
    return reduce_tokens(put_back(values, labelled), labels, reduction)


def cross_entropy_unlearning_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    skipped: int = 0,
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""CE-U: cross-entropy with the model's own present distribution, its label taken out.

    $$L = \overline{-\sum_{v} q_t(v) \log p_t(v)}, \qquad q_t = \mathrm{softmax}(z_t \mid z_t(y_t) = -\infty)$$

    with q held constant (Yang, "CE-U: Cross Entropy Unlearning", 2025). The logit gradient is p - q: p at the label
    and p - p/(1 - p_y) elsewhere, so it does not vanish for a token that the model is sure of.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        skipped: The first labelled tokens of each sequence that carry no loss.
        reduction: See :func:`~myosotis.unlearning.language.methods.losses.reduce_tokens`; skipped tokens do not
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
    kept, targets, labelled = labelled_only(logits, counted)
    without_label = kept.detach().scatter(-1, targets[:, None], -torch.inf)
    values = functional.cross_entropy(kept, without_label.softmax(dim=-1), reduction="none")
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
class UndialTerm(Term):
    """Cross-entropy of the forget tokens with the lowered old distribution."""

    beta: float = 10.0

    name: ClassVar[str] = "forget_undial"
    reads: ClassVar[SideName] = "forget"
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset({("forget", "logits")})

    def items(self, sides: Sides) -> Tensor:
        """Return the loss per token or its mean per sequence."""
        side = sides.the("forget")
        values = undial_loss(side.logits, reference_logits(side), side.labels, self.beta, "none")
        return per_unit(values, side.labels, self.unit)


@dataclass(frozen=True)
class CrossEntropyUnlearningTerm(Term):
    """Cross-entropy of the forget tokens with the present distribution without the label."""

    skipped: int = 1

    name: ClassVar[str] = "forget_cross_entropy"
    reads: ClassVar[SideName] = "forget"

    def counted(self, labels: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
        """Return the labels without the skipped ones."""
        return without_first(labels, self.skipped)

    def items(self, sides: Sides) -> Tensor:
        """Return the loss per token or its mean per sequence."""
        side = sides.the("forget")
        values = cross_entropy_unlearning_loss(side.logits, side.labels, self.skipped, "none")
        return per_unit(values, self.counted(side.labels), self.unit)


@dataclass(frozen=True)
class Undial(Method):
    """Self-distillation with lowered logits on the forget set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="undial",
        title="Self-distillation with adjusted logits (UNDIAL)",
        paper="Dong et al., UNDIAL, NAACL 2025",
        reads="forget",
        memory="the old model's logits at the labelled forget tokens",
        purpose="A fixed target instead of an ascent: it cannot diverge.",
    )
    retain: RetainName | None = None
    beta: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0:
            raise ValueError(f"beta must be > 0, got {self.beta}")

    def forget_term(self) -> Term:
        """Return the distillation term."""
        return UndialTerm(self.reduction, self.beta)


@dataclass(frozen=True)
class CrossEntropyUnlearning(Method):
    """CE-U on the forget set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ceu",
        title="Cross-entropy unlearning (CE-U)",
        paper="Yang, CE-U: Cross Entropy Unlearning, 2025",
        reads="forget",
        memory="none",
        purpose="The label's probability goes to the other tokens in proportion; no reference.",
    )
    retain: RetainName | None = None
    skipped: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.skipped < 0:
            raise ValueError(f"skipped must be >= 0, got {self.skipped}")

    def forget_term(self) -> Term:
        """Return the cross-entropy term."""
        return CrossEntropyUnlearningTerm(self.reduction, self.skipped)
