"""IHL, the loss of LoKU."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import Reduction, labelled_only, put_back, reduce_tokens


def inverted_hinge_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Inverted hinge loss: lowers the label's probability and raises that of the runner-up only.

    $$L = \frac{1}{|M|} \sum_{t \in M} 1 + p_t(y_t) - \max_{v \ne y_t} p_t(v)$$

    (Cha, Cho, Hwang, Lee, "Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs", ICLR 2025.)
    The value lies in [0, 2]; its gradient is bounded, unlike that of gradient ascent, and vanishes at the label once
    that is forgotten. It keeps sharpening the runner-up, so the model ends with another confident answer, not
    with ignorance: watch the entropy. The released code takes logits that all lie in [0, 1] for probabilities; here the
    softmax is always taken. The gradient goes to one of several tied runners-up.

    Args:
        logits: Shifted logits.
        labels: Shifted labels, -100 where ignored.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> import torch
        >>> round(inverted_hinge_loss(torch.tensor([[[2.0, 1.0, 0.0, -1.0]]]), torch.tensor([[0]])).item(), 6)
        1.407031
    """
    selected, targets, labelled = labelled_only(logits, labels)
    probabilities = selected.softmax(dim=-1)
    at_label = probabilities.gather(-1, targets[:, None]).squeeze(-1)
    others = probabilities.scatter(-1, targets[:, None], -1.0)
    # max over a dimension sends the gradient to one of several equal values; amax would split it.
    runner_up = others.max(dim=-1).values
    return reduce_tokens(put_back(1 + at_label - runner_up, labelled), labels, reduction)


@dataclass(frozen=True)
class IHL(Method):
    """Inverted hinge on the forget set, NLL on the retain set; with FILA adapters it is LoKU."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ihl",
        title="Inverted hinge loss",
        paper="Cha, Cho, Hwang, Lee, Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs, ICLR 2025",
        reads="forget, retain",
        memory="none; with FILA a Fisher matrix per adapted layer before training",
        purpose="The default: bounded, stable, swaps the answer for the runner-up. With 'lora.init: fila' it is LoKU.",
    )
    term: ClassVar[str] = "forget_hinge"

    def losses(self, sides: Sides) -> Tensor:
        return inverted_hinge_loss(sides.forget.logits, sides.forget.labels, "none")
