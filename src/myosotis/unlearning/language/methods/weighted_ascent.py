"""Gradient ascent with tokens weighted by the model's confidence: WGA and SatImp."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import Reduction, reduce_tokens, token_log_probs


def weighted_ascent_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    beta: float = 1.0,
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Weighted gradient ascent, $L = \overline{p_t^{\beta} \log p_t}$ with the weights held constant.

    (Wang et al., "Rethinking LLM Unlearning Objectives: A Gradient Perspective and Go Beyond", ICLR 2025.) The weight
    vanishes at tokens that are forgotten already.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        beta: Exponent, >= 0; 0 is plain gradient ascent.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other, or ``beta`` is negative.

    Example:
        >>> import torch
        >>> weighted_ascent_loss(torch.zeros(1, 1, 4), torch.tensor([[2]]))
        tensor(-0.3466)
    """
    return saturation_importance_loss(logits, labels, beta, 0.0, reduction)


def saturation_importance_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    beta1: float = 5.0,
    beta2: float = 1.0,
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""SatImp, $L = \overline{p_t^{\beta_1} (1 - p_t)^{\beta_2} \log p_t}$ with the weights held constant.

    (Yang et al., "Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning", ICML 2025.) The first factor is
    the weight of saturation, the second that of importance. No reference model is needed; released code copies
    one all the same.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        beta1: Exponent of p, >= 0.
        beta2: Exponent of 1 - p, >= 0.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other, or an exponent is negative.

    Example:
        >>> import torch
        >>> saturation_importance_loss(torch.zeros(1, 1, 2), torch.tensor([[1]]), 1.0, 1.0)
        tensor(-0.1733)
    """
    if beta1 < 0 or beta2 < 0:
        raise ValueError(f"the exponents must be >= 0, got {beta1} and {beta2}")
    log_probs = token_log_probs(logits, labels)
    p = log_probs.detach().exp()
    return reduce_tokens(p**beta1 * (1 - p) ** beta2 * log_probs, labels, reduction)


@dataclass(frozen=True)
class WGA(Method):
    """Weighted gradient ascent on the forget set, NLL on the retain set.

    Attributes:
        beta: Exponent of the token's probability, >= 0; 0 is gradient ascent.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="wga",
        title="Weighted gradient ascent",
        paper="Wang et al., Rethinking LLM Unlearning Objectives, ICLR 2025",
        reads="forget, retain",
        memory="none",
        purpose="Ascent that stops at a token once it is forgotten.",
    )
    term: ClassVar[str] = "forget_weighted_ascent"
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0:
            raise ValueError(f"beta must be >= 0, got {self.beta}")

    def losses(self, sides: Sides) -> Tensor:
        return weighted_ascent_loss(sides.forget.logits, sides.forget.labels, self.beta, "none")


@dataclass(frozen=True)
class SatImp(Method):
    """Ascent weighted by saturation and importance, NLL on the retain set.

    Attributes:
        beta1: Exponent of p, >= 0.
        beta2: Exponent of 1 - p, >= 0.
        forget_weight: Weight of the forget term.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="satimp",
        title="Saturation and importance weighting (SatImp)",
        paper="Yang et al., Exploring Criteria of Loss Reweighting to Enhance LLM Unlearning, ICML 2025",
        reads="forget, retain",
        memory="none",
        purpose="Ascent on the tokens that are neither forgotten nor certain; gentle, and slow on memorised text.",
    )
    term: ClassVar[str] = "forget_weighted_ascent"
    beta1: float = 5.0
    beta2: float = 1.0
    forget_weight: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta1 < 0 or self.beta2 < 0:
            raise ValueError(f"beta1 and beta2 must be >= 0, got {self.beta1} and {self.beta2}")

    def losses(self, sides: Sides) -> Tensor:
        side = sides.forget
        return saturation_importance_loss(side.logits, side.labels, self.beta1, self.beta2, "none")
