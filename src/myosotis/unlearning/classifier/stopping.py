"""When an instance counts as forgotten, and when unlearning stops."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.unlearning.classifier.goals import true_margin

StopAt = Literal["goal", "reference", "never"]


@dataclass(frozen=True)
class ReferenceLevel:
    """Level of a model that never saw the instances.

    Attributes:
        accuracy: Accuracy on the forget set, in [0, 1].
        loss: Mean cross-entropy on the forget set, in nats.
    """

    accuracy: float
    loss: float


@dataclass(frozen=True)
class StopRule:
    """When unlearning stops.

    Attributes:
        at: ``"goal"``: every instance is misclassified, or has its new label. ``"reference"``: accuracy has fallen
            to, and loss has risen to, those of ``reference``, so that the result is not over-forgotten. ``"never"``:
            only the largest number of steps or epochs stops it.
        margin: Logits that an instance must be beyond the decision boundary, for ``"goal"``. At 0 another device's
            rounding may bring an instance back.
        reference: Level of the reference, for ``"reference"``.
        every: Steps between two measurements of the forget set.

    Raises:
        ValueError: A value is out of range, or ``at`` and ``reference`` do not fit together.
    """

    at: StopAt = "goal"
    margin: float = 0.0
    reference: ReferenceLevel | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.margin < 0 or self.every < 1:
            raise SettingsError("margin must be at least 0 and every at least 1")
        if (self.at == "reference") != (self.reference is not None):
            raise SettingsError("a reference level is needed for, and only for, a stop at the reference")

    def reached(
        self, logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], new_labels: Int[Tensor, " n"] | None
    ) -> bool:
        """Return whether unlearning may stop.

        Args:
            logits: Logits of the whole forget set, in evaluation mode.
            labels: True classes.
            new_labels: New labels, for the goal ``relabel``.
        """
        if self.at == "never":
            return False
        if self.reference is not None:
            accuracy = (logits.argmax(dim=1) == labels).float().mean().item()
            loss = functional.cross_entropy(logits.float(), labels).item()
            return accuracy <= self.reference.accuracy and loss >= self.reference.loss
        return bool(forgotten(logits, labels, new_labels, self.margin).all())


def goal_margins(
    logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], new_labels: Int[Tensor, " n"] | None
) -> Float[Tensor, " n"]:
    """Return how far each instance is beyond the decision boundary, in logits; negative where it is not there yet."""
    return -true_margin(logits, labels) if new_labels is None else true_margin(logits, new_labels)


def forgotten(
    logits: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    new_labels: Int[Tensor, " n"] | None,
    margin: float = 0.0,
) -> torch.Tensor:
    """Return, for each instance, whether the goal is reached: another answer than its label, or its new label.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
        >>> forgotten(logits, torch.tensor([0, 0]), None).tolist()
        [False, True]
    """
    answer = logits.argmax(dim=1)
    done = answer != labels if new_labels is None else answer == new_labels
    return done & (goal_margins(logits, labels, new_labels) >= margin)
