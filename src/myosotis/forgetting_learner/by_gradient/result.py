"""``result.json`` of a forgetting in a learner."""

from typing import Literal

from myosotis.engine.result import ResultPart
from myosotis.unlearning.classifier.job.result import ClassifierResult


class LearnerPart(ResultPart):
    """What became of the learner beside its network."""

    method: str
    """Method of class-incremental learning."""
    tasks: int
    """Tasks that it has learnt."""
    exemplars_before: int
    """Exemplars before."""
    exemplars_after: int
    """Exemplars after."""
    exemplars_forgotten: dict[str, int]
    """Forgotten images that were exemplars, by class."""
    exemplars_refilled: dict[str, int]
    """Remaining images that took their slots, by class."""
    logits_forgotten: int
    """Forgotten images that were stored with logits."""
    restated: bool
    """Whether what the method derives from exemplars was computed anew."""
    leaves: str | None
    """What a forgotten image leaves in the learner beside the network; null where nothing does."""


class LearnerForgettingResult(ClassifierResult):
    """Result of ``unlearn-learner``."""

    kind: Literal["unlearn-learner"]  # type: ignore[assignment]
    learner: LearnerPart
    """What became of the learner beside its network."""
