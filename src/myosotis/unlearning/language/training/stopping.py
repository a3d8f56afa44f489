"""The stop rule: training ends as soon as the forget set looks like unseen text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.verdict import TOLERANCE
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.memorization import Thresholds, memorization, memorization_accuracy


@dataclass(frozen=True)
class StopRule:
    """Stop at the first epoch at which the forget set's means are no higher than those of unseen text.

    The authors of the rule (Jang et al., ACL 2023) ask for strictly lower means. The two differ at
    ties only, and theirs could never meet a threshold of 0.

    Attributes:
        thresholds: Thresholds of extraction likelihood and memorisation accuracy; both means must be at or below.
        sequences: Token ids of the forget set.
        starts: Length of each prompt, see :func:`~myosotis.unlearning.language.extraction_likelihood`.
        min_epochs: Fewest epochs before a stop.
        every: Epochs between measurements.
        fact_examples: Examples of the forget set, where the accuracy on their facts is measured too.
        fact_threshold: Accuracy on the facts of unseen records; the mean must be at or below.
        active: False to measure accuracies only and never stop.

    Raises:
        ValueError: The thresholds were calibrated with another n or length.
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
        """Return the means on the forget set that the rule compares; without the rollouts where it never stops."""
        thresholds = self.thresholds
        if self.active:
            accuracy, likelihood = memorization(
                model, self.sequences, thresholds.n, starts=self.starts, prefixes=thresholds.prefixes
            )
            values = {
                "forget_memorization_accuracy": accuracy.double().mean().item(),
                "forget_extraction_likelihood": likelihood.double().mean().item(),
            }
        else:
            accuracy = memorization_accuracy(model, self.sequences, starts=self.starts)
            values = {"forget_memorization_accuracy": accuracy.double().mean().item()}
        if self.fact_threshold is not None:
            facts = answer_metrics(model, self.fact_examples)["fact_accuracy"]
            values["forget_fact_accuracy"] = facts.double().nanmean().item()
        return values

    def satisfied(self, values: dict[str, float], epoch: int) -> bool:
        """Whether training stops at the values, measured after ``epoch`` epochs."""
        if not self.active:
            return False
        limits = {
            "forget_memorization_accuracy": self.thresholds.memorization_accuracy,
            "forget_extraction_likelihood": self.thresholds.extraction_likelihood,
        }
        if self.fact_threshold is not None:
            limits["forget_fact_accuracy"] = self.fact_threshold
        reached = all(values[name] <= limit + TOLERANCE for name, limit in limits.items())
        return epoch >= self.min_epochs and reached
