"""IHL, the loss of LoKU."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.losses import inverted_hinge_loss
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import SideName, Sides, Term, per_unit


@dataclass(frozen=True)
class InvertedHingeTerm(Term):
    """1 + p(label) - p(runner-up) on the forget tokens."""

    name: ClassVar[str] = "forget_hinge"
    reads: ClassVar[SideName] = "forget"

    def items(self, sides: Sides) -> Tensor:
        """Return the loss per token or its mean per sequence."""
        side = sides.the("forget")
        return per_unit(inverted_hinge_loss(side.logits, side.labels, reduction="none"), side.labels, self.unit)


@dataclass(frozen=True)
class InvertedHinge(Method):
    """Inverted hinge on the forget set, NLL on the retain set; with FILA adapters it is LoKU."""

    card: ClassVar[MethodCard] = MethodCard(
        name="ihl",
        title="Inverted hinge loss (LoKU with lora.init: fila)",
        paper="Cha, Cho, Hwang, Lee, Towards Robust and Parameter-Efficient Knowledge Unlearning for LLMs, ICLR 2025",
        reads="forget, retain",
        memory="none; with FILA a Fisher matrix per adapted layer before training",
        purpose="The default: bounded, stable, swaps the answer for the runner-up.",
    )

    def forget_term(self) -> Term:
        """Return the inverted hinge term."""
        return InvertedHingeTerm(self.reduction)
