"""What became of the instances and of the model."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from myosotis.unlearning.classifier.goals import Goal

StopReason = Literal["goal", "reference", "already", "epochs", "steps", "edited", "diverged"]


@dataclass(frozen=True)
class InstanceResult:
    """What became of one instance.

    Attributes:
        label: Its true class.
        new_label: The class that it was to get, or None.
        answer_before: What the model took it for.
        answer_after: What it takes it for now.
        probability_before: Of the true class.
        probability_after: Of the true class.
        margin: Logits beyond the decision boundary; negative: the goal is not reached.
        forgotten: Whether the goal is reached.
    """

    label: int
    new_label: int | None
    answer_before: int
    answer_after: int
    probability_before: float
    probability_after: float
    margin: float
    forgotten: bool


@dataclass(frozen=True)
class UnlearnResult:
    """The model after unlearning, and how that went.

    Attributes:
        model: A new model, in evaluation mode; the one that came in is untouched.
        method: Its name.
        goal: What was asked for.
        converged: Whether the goal, or the reference level, was reached.
        stop_reason: ``goal``, ``reference``, ``already`` (nothing had to be done), ``epochs`` or ``steps`` (a cap),
            ``edited`` (the method does not train), or ``diverged`` (a loss was not finite; the model is the one that
            came in).
        steps: Optimisation steps.
        instances: What became of each.
        history: After every step: its number, the loss terms, and where it was looked at, accuracy and loss on the
            forget set.
        facts: Figures of the method's preparation, e.g. ``adversarial_success``, and ``held_accuracy_before`` and
            ``held_accuracy_after``, the share of held samples that keep their answer.
        batch_norm_drift: Mean change of running means in old standard deviations, or None.
        warnings: What the caller should know.
        seconds: Wall time, preparation included.
    """

    model: nn.Module
    method: str
    goal: Goal
    converged: bool
    stop_reason: StopReason
    steps: int
    instances: tuple[InstanceResult, ...]
    history: tuple[dict[str, float], ...]
    facts: dict[str, float]
    batch_norm_drift: float | None
    warnings: tuple[str, ...]
    seconds: float

    @property
    def min_margin(self) -> float:
        """The margin of the instance that is nearest to coming back."""
        return min(instance.margin for instance in self.instances)

    @property
    def forget_accuracy(self) -> float:
        """Share of the instances that still get their true label."""
        return sum(one.answer_after == one.label for one in self.instances) / len(self.instances)
