"""When an instance counts as forgotten, and when unlearning stops."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.errors import SettingsError
from myosotis.unlearning.classifier.goals import true_margin

StopAt = Literal["goal", "reference", "never"]

_ROUNDING = 1e-9


def reference_level(before: float, reference: float, margin: float = 0.2) -> float:
    """Return the accuracy on the forget set at which unlearning stops at a reference, for :class:`StopRule`.

    What is left of what had been learnt is then at most the margin, as the verdict asks; by the means alone, for the
    instances are few.

    Args:
        before: Accuracy on the forget set before unlearning.
        reference: That of a model that never saw the instances.
        margin: Share of the difference that may be left.

    Example:
        >>> round(reference_level(1.0, 0.7), 2)
        0.76
    """
    return reference + margin * max(before - reference, 0.0)


@dataclass(frozen=True)
class StopRule:
    """When unlearning stops.

    Attributes:
        at: ``"goal"``: every instance is misclassified, or has its new label. ``"reference"``: the accuracy on them
            has fallen to that of a model that never saw them, so that the result is not over-forgotten. ``"never"``:
            only the largest number of steps or epochs stops it.
        margin: Logits that an instance must be beyond the decision boundary, for ``"goal"``. At 0 another device's
            rounding may bring an instance back.
        accuracy: Accuracy on the forget set to stop at, for ``"reference"``; see :func:`reference_level`.
        every: Steps between two measurements of the forget set.

    Raises:
        ValueError: A value is out of range, or ``at`` and ``accuracy`` do not fit together.
    """

    at: StopAt = "goal"
    margin: float = 0.0
    accuracy: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.margin < 0 or self.every < 1:
            raise SettingsError("margin must be at least 0 and every at least 1")
        if (self.at == "reference") != (self.accuracy is not None):
            raise SettingsError("an accuracy is needed for, and only for, a stop at the reference")

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
        if self.accuracy is not None:
            return (logits.argmax(dim=1) == labels).double().mean().item() <= self.accuracy + _ROUNDING
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
