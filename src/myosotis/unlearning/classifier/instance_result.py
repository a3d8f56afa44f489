"""Outcome of an unlearning, for the model and for every instance."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import nn

from myosotis.engine.tabular import Tabular
from myosotis.unlearning.classifier.goals import Goal

StopReason = Literal["goal", "reference", "already", "epochs", "steps", "edited", "diverged"]


@dataclass(frozen=True)
class InstanceResult:
    """Outcome for one instance.

    Attributes:
        label: True class.
        new_label: Class that the goal ``relabel`` asks for, or that ``as_unseen`` found; else None.
        answer_before: Prediction before unlearning.
        answer_after: Prediction after unlearning.
        probability_before: Probability of the true class before.
        probability_after: Probability of the true class after.
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


@dataclass(frozen=True, repr=False)
class UnlearnResult(Tabular):
    """The model after unlearning, and how that went.

    Attributes:
        model: New model in evaluation mode; the original is untouched.
        method: Name of the method.
        goal: Goal of the unlearning.
        converged: Whether the goal, or the reference level, was reached; for ``as_unseen``, whether it ended in
            order.
        stop_reason: ``goal``, ``reference``, ``already`` (nothing had to be done), ``epochs`` or ``steps`` (a cap),
            ``edited`` (the method does not train), or ``diverged`` (a loss became non-finite; the model has the
            original weights).
        steps: Optimisation steps.
        instances: Outcome for each instance.
        history: Number and loss terms of every step, with accuracy and loss on the forget set where they were measured.
        facts: Figures of the method's preparation, e.g. ``adversarial_success``, and ``held_accuracy_before`` and
            ``held_accuracy_after``, the share of held samples that keep their answer.
        batch_norm_drift: Mean change of running means in old standard deviations, or None.
        warnings: Warnings for the caller.
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
        """Smallest margin of all instances."""
        return min(instance.margin for instance in self.instances)

    @property
    def forget_accuracy(self) -> float:
        """Share of the instances that are still classified correctly."""
        return sum(instance.answer_after == instance.label for instance in self.instances) / len(self.instances)

    def headline(self) -> str:
        """Return how many instances reached the goal, and by what."""
        reached = sum(instance.forgotten for instance in self.instances)
        return (
            f"{reached} of {len(self.instances)} instances reached the goal '{self.goal}' by {self.method} in "
            f"{self.steps} steps; stopped: {self.stop_reason}"
        )

    def rows(self) -> list[dict[str, Any]]:
        return [asdict(instance) for instance in self.instances]
