"""When to stop: as soon as the forget set looks like text the model has never seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.verdict import TOLERANCE
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.memorization import Thresholds, memorization


@dataclass(frozen=True)
class StopRule:
    """Stop at the first epoch at which the forget set's means are no higher than those of unseen text.

    The authors of the rule (Jang et al., ACL 2023) ask for strictly lower means. The two differ at ties alone, and by
    theirs a threshold of 0 could never be met.

    Attributes:
        thresholds: Of extraction likelihood and memorisation accuracy; both means must be at or below.
        sequences: The forget set's token ids.
        starts: The length of each one's prompt, see :func:`~myosotis.unlearning.language.extraction_likelihood`.
        min_epochs: Never stop before so many epochs.
        every: Measure every so many epochs.
        fact_examples: The forget set's examples, where the accuracy on their facts is to be looked at too.
        fact_threshold: The accuracy on the facts of unseen records; the mean must be at or below.
        active: False to measure only and never stop.

    Raises:
        ValueError: The thresholds are of another n or length.
    """

    thresholds: Thresholds
    sequences: Sequence[Tensor]
    starts: Sequence[int] | None = None
    min_epochs: int = 0
    every: int = 1
    fact_examples: Sequence[Example] = ()
    fact_threshold: float | None = None
    active: bool = True

    def __post_init__(self) -> None:
        self.thresholds.check_comparable(self.sequences, self.thresholds.n, self.starts)

    def measure(self, model: Any) -> dict[str, float]:
        """Return the means on the forget set that the rule looks at."""
        accuracy, likelihood = memorization(model, self.sequences, self.thresholds.n, starts=self.starts)
        values = {
            "forget_memorization_accuracy": accuracy.double().mean().item(),
            "forget_extraction_likelihood": likelihood.double().mean().item(),
        }
        if self.fact_threshold is not None:
            facts = answer_metrics(model, self.fact_examples)["fact_accuracy"]
            values["forget_fact_accuracy"] = facts.double().nanmean().item()
        return values

    def satisfied(self, values: dict[str, float], epoch: int) -> bool:
        """Whether the values, measured after ``epoch`` epochs, mean stop."""
        limits = {
            "forget_memorization_accuracy": self.thresholds.memorization_accuracy,
            "forget_extraction_likelihood": self.thresholds.extraction_likelihood,
        }
        if self.fact_threshold is not None:
            limits["forget_fact_accuracy"] = self.fact_threshold
        reached = all(values[name] <= limit + TOLERANCE for name, limit in limits.items())
        return self.active and epoch >= self.min_epochs and reached
