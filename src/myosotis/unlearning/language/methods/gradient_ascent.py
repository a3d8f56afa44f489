"""Gradient ascent and its pairings with a retain term."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import Reduction, reduce_tokens, token_log_probs


def gradient_ascent_loss(
    logits: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Negated cross-entropy, $L = \frac{1}{|M|} \sum_{t \in M} \log p_t(y_t)$: gradient ascent on the NLL.

    (Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models", ACL 2023.) It has no lower
    bound and its gradient does not shrink as the label is forgotten, so it needs a stop rule.

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
        >>> gradient_ascent_loss(torch.zeros(1, 1, 4), torch.tensor([[2]]))
        tensor(-1.3863)
    """
    return reduce_tokens(token_log_probs(logits, labels), labels, reduction)


@dataclass(frozen=True)
class GradientAscent(Method):
    """Ascent on the forget set alone."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ga",
        title="Gradient ascent",
        paper="Jang et al., Knowledge Unlearning for Mitigating Privacy Risks in Language Models, ACL 2023",
        reads="forget",
        memory="none",
        purpose="No retain data, few updates and a stop rule; without one it destroys the model.",
    )
    term: ClassVar[str] = "forget_ascent"
    retain: RetainName | None = None

    def losses(self, sides: Sides) -> Tensor:
        return gradient_ascent_loss(sides.forget.logits, sides.forget.labels, "none")


@dataclass(frozen=True)
class GradientDifference(GradientAscent):
    """Ascent on the forget set, descent on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="gd",
        title="Gradient difference",
        paper="Liu, Liu, Stone, Continual Learning and Private Unlearning, CoLLAs 2022",
        reads="forget, retain",
        memory="none",
        purpose="The plain baseline with retain data; as unbounded as gradient ascent.",
    )
    retain: RetainName | None = "nll"


@dataclass(frozen=True)
class KLMinimisation(GradientAscent):
    """Ascent on the forget set, KL divergence from the old model on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="kl",
        title="Gradient ascent with KL minimisation",
        paper="Maini et al., TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024",
        reads="forget, retain",
        memory="the old model's logits at the labelled retain tokens that will be drawn",
        purpose="Keep the whole answer distribution on the retain set, not only the right answer.",
    )
    retain: RetainName | None = "kl"
