"""Task-vector negation: learn the forget set further, then negate the change of the weights."""

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import token_log_probs


@dataclass(frozen=True)
class TaskVector(Method):
    r"""Fine-tuning on the forget set whose change of the weights is negated: $\theta_0 - \alpha(\theta - \theta_0)$.

    Attributes:
        scale: Factor alpha of the negated change.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="task-vector",
        title="Task-vector negation",
        paper="Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023",
        reads="forget",
        memory="a copy of the trained weights",
        purpose="A cheap baseline without retain data; does not support a stop rule.",
    )
    term: ClassVar[str] = "forget_reinforcement"
    retain: RetainName | None = None
    scale: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise ValueError(f"scale must be > 0, got {self.scale}")
        if self.retain is not None:
            raise ValueError(
                "task-vector has no retain term: negating the change of the weights would negate its effect"
            )

    @property
    def negation(self) -> float:
        return self.scale

    def losses(self, sides: Sides) -> Tensor:
        return -token_log_probs(sides.forget.logits, sides.forget.labels)
