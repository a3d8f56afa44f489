"""PDU: flatten the forget logits subject to a limit on the retain loss."""

from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RETAIN_TERMS
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import Reduction, labelled_only, put_back, reduce_tokens


def logit_flattening_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Squared distance of the largest logit from the mean logit, $L = \overline{(\max_v z_t(v) - \bar z_t)^2}$.

    (Entesari et al., "Constrained Entropic Unlearning: A Primal-Dual Framework for Large Language Models", NeurIPS
    2025.) It is 0 for a uniform distribution only. Of the labels only the mask is used; released code does not shift
    it, so that it leaves out the first answer token and counts one position after the answer.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored; only their mask is used.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> import torch
        >>> logit_flattening_loss(torch.tensor([[[3.0, 1.0, 2.0]]]), torch.tensor([[0]]))
        tensor(1.)
    """
    selected, _, labelled = labelled_only(logits, labels)
    # max over a dimension sends the gradient to one of several equals; amax would split it.
    values = (selected.max(dim=-1).values - selected.mean(dim=-1)).square() if len(selected) else selected.sum(dim=-1)
    return reduce_tokens(put_back(values, labelled), labels, reduction)


@dataclass(frozen=True)
class PDU(Method):
    """Flattening on the forget set, subject to a limit on the NLL of the retain set.

    Attributes:
        retain_limit: Upper limit of the retain NLL in nats per token; choose it near that of the old model.
        dual_step_size: Step size of the ascent on the multiplier, after every optimisation step.
        dual_start: Multiplier before the first step.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="pdu",
        title="Primal-dual constrained entropic unlearning (PDU)",
        paper="Entesari et al., Constrained Entropic Unlearning, NeurIPS 2025",
        reads="forget, retain",
        memory="none",
        purpose="Set a limit on the retain loss; the weight of the retain term adapts to it.",
    )
    term: ClassVar[str] = "forget_flattening"
    retain_limit: float = field(default=0.3, kw_only=True)
    dual_step_size: float = field(default=1.0, kw_only=True)
    dual_start: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retain != "nll" or self.retain_weight != 1.0:
            raise ValueError("pdu sets the weight of the retain NLL itself: leave retain and retain_weight out")
        if self.retain_limit < 0 or self.dual_step_size <= 0 or self.dual_start < 0:
            raise ValueError("retain_limit and dual_start must be >= 0 and dual_step_size > 0")

    @property
    def dual(self) -> DualAscent:
        return DualAscent(RETAIN_TERMS["nll"].name, self.retain_limit, self.dual_step_size, self.dual_start)

    def losses(self, sides: Sides) -> Tensor:
        return logit_flattening_loss(sides.forget.logits, sides.forget.labels, "none")
