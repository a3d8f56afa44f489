"""UNDIAL: distillation from the old model with the label's logit lowered."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.term import Needs, Sides, reference_logits
from myosotis.unlearning.language.methods.token_losses import Reduction, labelled_only, put_back, reduce_tokens


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
    NAACL 2025.) Prompt and padding are left out; released code averages over them, and its ignored label -100
    lowers the logit of a token at the end of the vocabulary.

    Args:
        logits: Shifted logits of the model.
        reference_logits: Shifted logits before unlearning.
        labels: Shifted labels, -100 where ignored.
        beta: Amount by which the label's logit is lowered, > 0.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Returns:
        A scalar, or (batch, time) with 0 at ignored positions for ``"none"``.

    Raises:
        ValueError: The shapes do not fit each other, or ``beta`` is not positive.

    Example:
        >>> import torch
        >>> uniform = torch.zeros(1, 1, 4)
        >>> undial_loss(uniform, uniform, torch.tensor([[0]]))
        tensor(1.3863)
    """
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta}")
    selected, targets, labelled = labelled_only(logits, labels)
    reference, _, _ = labelled_only(reference_logits, labels)
    lowered = reference - beta * functional.one_hot(targets, reference.shape[-1])
    values = functional.cross_entropy(selected, lowered.softmax(dim=-1), reduction="none")
    return reduce_tokens(put_back(values, labelled), labels, reduction)


@dataclass(frozen=True)
class UNDIAL(Method):
    """Self-distillation with lowered logits on the forget set.

    Attributes:
        retain: Retain term; none by default.
        beta: Amount by which the label's logit is lowered, > 0.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="undial",
        title="Self-distillation with adjusted logits (UNDIAL)",
        paper="Dong et al., UNDIAL, NAACL 2025",
        reads="forget",
        memory="the old model's logits at the labelled forget tokens",
        purpose="A fixed target instead of an ascent: it cannot diverge.",
    )
    needs: ClassVar[Needs] = frozenset({("forget", "logits")})
    retain: RetainName | None = None
    beta: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0:
            raise ValueError(f"beta must be > 0, got {self.beta}")

    def losses(self, sides: Sides) -> Tensor:
        side = sides.forget
        return undial_loss(side.logits, reference_logits(side), side.labels, self.beta, "none")
