"""IDK: learn to refuse the forget questions."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Alternates, Method
from myosotis.unlearning.language.methods.term import SideName, Sides
from myosotis.unlearning.language.methods.token_losses import token_log_probs


@dataclass(frozen=True)
class IDK(Method):
    """NLL of refusals on the forget prompts, NLL on the retain set, each a mean of its own."""

    card: ClassVar[MethodCard] = MethodCard(
        name="idk",
        title="Refusal training (I don't know)",
        paper="Maini et al., TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024",
        reads="forget prompts, retain",
        memory="none",
        purpose="Refusals instead of wrong answers; the knowledge stays in the model.",
    )
    term: ClassVar[str] = "forget_refusal"
    forgets: ClassVar[SideName] = "alternate"
    alternates: ClassVar[Alternates | None] = "refusals"

    def losses(self, sides: Sides) -> Tensor:
        side = sides.the("alternate")
        return -token_log_probs(side.logits, side.labels)
