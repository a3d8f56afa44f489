"""When to stop: as soon as the forget set looks like text the model has never seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.unlearning.language.answers import answer_metrics
from myosotis.unlearning.language.memorization import Thresholds, memorization


@dataclass(frozen=True)
class StopRule:
    """Stop at the first epoch at which the forget set's means are below those of unseen text.

    Attributes:
        thresholds: Of extraction likelihood and memorisation accuracy; both means must be strictly below.
        sequences: The forget set's token ids.
        starts: The length of each one's prompt, see :func:`~myosotis.unlearning.language.extraction_likelihood`.
        min_epochs: Never stop before so many epochs.
        every: Measure every so many epochs.
        fact_examples: The forget set's examples, where the accuracy on their facts is to be looked at too.
        fact_threshold: The accuracy on the facts of unseen records; the mean must be at or below.
        active: False to measure only and never stop.

    Raises:
        ValueError: The thresholds are of another n or length, or one of them is 0, which nothing can be below.
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
        nothing_below = min(self.thresholds.extraction_likelihood, self.thresholds.memorization_accuracy) <= 0
        if self.active and nothing_below:
            raise ValueError(
                f"a threshold is 0 (extraction likelihood {self.thresholds.extraction_likelihood:g}, memorisation "
                f"accuracy {self.thresholds.memorization_accuracy:g}), so the rule could never stop; use a smaller n"
            )

    def measure(self, model: Any) -> dict[str, float]:
        """Return the means on the forget set that the rule looks at."""
        accuracy, likelihood = memorization(model, self.sequences, self.thresholds.n, starts=self.starts)
        values = {
            "forget_memorization_accuracy": accuracy.mean().item(),
            "forget_extraction_likelihood": likelihood.mean().item(),
        }
        if self.fact_threshold is not None:
            facts = answer_metrics(model, self.fact_examples)["fact_accuracy"]
            values["forget_fact_accuracy"] = facts.nanmean().item()
        return values

    def satisfied(self, values: dict[str, float], epoch: int) -> bool:
        """Whether the values, measured after ``epoch`` epochs, mean stop."""
        below = (
            values["forget_memorization_accuracy"] < self.thresholds.memorization_accuracy
            and values["forget_extraction_likelihood"] < self.thresholds.extraction_likelihood
        )
        facts_gone = self.fact_threshold is None or values["forget_fact_accuracy"] <= self.fact_threshold
        return self.active and epoch >= self.min_epochs and below and facts_gone
