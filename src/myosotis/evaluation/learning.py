"""Whether something was learnt, and whether it was kept: a figure against its control, each with an interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from myosotis.engine.result import ResultPart
from myosotis.evaluation.comparison import Comparison, answer, compared, fixed, one_sided
from myosotis.evaluation.intervals import Interval, clopper_pearson

KEPT_MARGIN = 0.05
"""Loss of accuracy up to which something counts as kept."""


@dataclass(frozen=True)
class Share:
    """Hits among trials.

    Attributes:
        hits: Number of right answers.
        trials: Number of samples.
    """

    hits: int
    trials: int

    @property
    def mean(self) -> float:
        """Share of hits."""
        return self.hits / self.trials

    def interval(self, confidence: float) -> Interval:
        """Return the share with its exact interval."""
        return Interval(self.mean, *clopper_pearson(self.hits, self.trials, confidence), self.trials, self.trials)

    @classmethod
    def of(cls, accuracies: Sequence[float], counts: Sequence[int]) -> "Share":
        """Return the share over several sets, from the accuracy on each.

        Args:
            accuracies: Accuracy on each set.
            counts: Samples of each set.

        Example:
            >>> Share.of([0.5, 1.0], [4, 2])
            Share(hits=4, trials=6)
        """
        hits = sum(round(accuracy * count) for accuracy, count in zip(accuracies, counts, strict=True))
        return cls(hits, sum(counts))


class LearningVerdict(ResultPart):
    """Two questions, each against a control; null where an answer cannot be given."""

    learnt: bool | None
    """Whether the model is shown to be better than one that learnt nothing."""
    kept: bool | None
    """Whether what was learnt earlier is shown to be still there; null without earlier tasks."""
    learnt_basis: list[Comparison]
    """Comparisons of the first question; all of them must hold."""
    kept_basis: list[Comparison]
    """Comparisons of the second question."""


def above_level(share: Share, level: float, *, measure: str, against_of: str, confidence: float) -> Comparison:
    """Return whether a share is above a fixed level, as chance is, by its exact bound.

    No, where the bound includes the level; not answered with too few samples, or where not even all hits would lie
    above it.

    Args:
        share: Hits and trials of the model.
        level: Share that a model gets right which learnt nothing.
        measure: Name of the figure.
        against_of: Origin of the level.
        confidence: Level of confidence.

    Example:
        >>> chance = {"measure": "accuracy", "against_of": "chance", "confidence": 0.95}
        >>> [above_level(Share(hits, 40), 0.25, **chance).holds for hits in (11, 30)]
        [False, True]
        >>> above_level(Share(4, 4), 0.5, **chance).holds is None
        True
    """
    difference = share.interval(one_sided(confidence)).transformed(lambda mean: mean - level)
    best, _ = clopper_pearson(share.trials, share.trials, one_sided(confidence))
    if best <= level:  # a bound that tells nothing
        difference = Interval(difference.mean, None, None, share.trials, share.trials)
    value = share.interval(confidence)
    return compared(measure, value, fixed(level), difference, "above", against_of=against_of, confidence=confidence)


def above_share(share: Share, control: Share, *, measure: str, against_of: str, confidence: float) -> Comparison:
    """Return whether a share is above that of a control, by the bound of the difference.

    The two are taken as independent, which makes the interval wider than it need be for the same samples.

    Args:
        share: Hits and trials of the model.
        control: Those of the control.
        measure: Name of the figure.
        against_of: Origin of the control.
        confidence: Level of confidence.
    """
    value, level = share.interval(confidence), control.interval(confidence)
    difference = difference_of(*(side.interval(one_sided(confidence)) for side in (share, control)))
    return compared(measure, value, level, difference, "above", against_of=against_of, confidence=confidence)


def difference_of(value: Interval, other: Interval) -> Interval:
    """Return the difference of two independent figures from their intervals, combined by their squares.

    As :func:`~myosotis.evaluation.intervals.difference_interval`, from intervals instead of samples.

    Example:
        >>> difference = difference_of(Interval(0.9, 0.8, 1.0, 9, 9), Interval(0.5, 0.4, 0.6, 9, 9))
        >>> round(difference.mean, 3), round(difference.low, 3), round(difference.high, 3)
        (0.4, 0.259, 0.541)
    """
    mean, units = value.mean - other.mean, min(value.units, other.units)
    if value.low is None or value.high is None or other.low is None or other.high is None:
        return Interval(mean, None, None, min(value.count, other.count), units)
    low = mean - math.hypot(value.mean - value.low, other.high - other.mean)
    high = mean + math.hypot(value.high - value.mean, other.mean - other.low)
    return Interval(mean, low, high, min(value.count, other.count), units)


def not_below(share: Share, before: Share, *, measure: str, against_of: str, confidence: float) -> Comparison:
    """Return whether a share is no more than :data:`KEPT_MARGIN` below what it was.

    Args:
        share: Hits and trials now.
        before: Hits and trials before.
        measure: Name of the figure.
        against_of: Origin of the figure before.
        confidence: Level of confidence.

    Example:
        >>> then = {"measure": "accuracy", "against_of": "when learnt", "confidence": 0.95}
        >>> [not_below(Share(hits, 1000), Share(900, 1000), **then).holds for hits in (895, 860, 500)]
        [True, None, False]
    """
    return compared(
        measure,
        share.interval(confidence),
        before.interval(confidence),
        difference_of(*(side.interval(one_sided(confidence)) for side in (share, before))),
        "at least",
        against_of=against_of,
        margin=KEPT_MARGIN,
        confidence=confidence,
    )


def learning_verdict(learnt: Sequence[Comparison], kept: Sequence[Comparison]) -> LearningVerdict:
    """Return the verdict; what was not shown to be learnt is never called kept.

    Args:
        learnt: Comparisons with models that learnt nothing.
        kept: Comparisons with what was there before.
    """
    has_learnt, has_kept = answer(learnt), answer(kept)
    return LearningVerdict(
        learnt=has_learnt,
        kept=has_kept if has_learnt else None,
        learnt_basis=list(learnt),
        kept_basis=list(kept),
    )
