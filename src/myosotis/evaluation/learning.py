"""Whether something was learnt, and whether it was kept: a figure beside its control, each with an interval."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from myosotis.evaluation.intervals import Interval, clopper_pearson
from myosotis.evaluation.verdict import FEWEST_UNITS, TOLERANCE

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


@dataclass(frozen=True)
class Controlled:
    """A figure beside its control; the content of :class:`~myosotis.engine.result.ControlledFigure`.

    Attributes:
        measure: What was measured.
        value: Figure of the model.
        low: Lower end of its interval.
        high: Upper end.
        count: Independent units.
        control: Figure of the control.
        control_of: Origin of the control.
        difference_low: Lower end of the interval of value less control.
        difference_high: Upper end.
        margin: Loss up to which something counts as kept.
        holds: Answer; None where it cannot be given.
    """

    measure: str
    value: float
    low: float | None
    high: float | None
    count: int
    control: float
    control_of: str
    difference_low: float | None
    difference_high: float | None
    margin: float
    holds: bool | None

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``result.json``."""
        return asdict(self)


def above_level(share: Share, level: float, *, measure: str, control_of: str, confidence: float) -> Controlled:
    """Return whether a share is above a fixed level, as chance is, by its exact interval.

    No, where the interval includes the level; not answered with fewer than five samples, or where not even all hits
    would lie above it.

    Args:
        share: Hits and trials of the model.
        level: Share that a model gets right which learnt nothing.
        measure: Name of the figure.
        control_of: Origin of the level.
        confidence: Level of confidence.

    Example:
        >>> chance = {"measure": "accuracy", "control_of": "chance", "confidence": 0.95}
        >>> [above_level(Share(hits, 40), 0.25, **chance).holds for hits in (11, 30)]
        [False, True]
        >>> above_level(Share(4, 4), 0.5, **chance).holds is None
        True
    """
    low, high = clopper_pearson(share.hits, share.trials, confidence)
    best, _ = clopper_pearson(share.trials, share.trials, confidence)
    holds = None if share.trials < FEWEST_UNITS or best <= level else low > level
    ends = (low - level, high - level)
    return Controlled(measure, share.mean, low, high, share.trials, level, control_of, *ends, 0.0, holds)


def above_share(share: Share, control: Share, *, measure: str, control_of: str, confidence: float) -> Controlled:
    """Return whether a share is above that of a control, by the interval of the difference.

    The two are taken as independent, which makes the interval wider than it need be for the same samples.

    Args:
        share: Hits and trials of the model.
        control: Those of the control.
        measure: Name of the figure.
        control_of: Origin of the control.
        confidence: Level of confidence.
    """
    value, level = share.interval(confidence), control.interval(confidence)
    return of_difference(value, level.mean, difference_of(value, level), measure, control_of)


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


def of_difference(
    value: Interval, control: float, difference: Interval, measure: str, control_of: str, margin: float = 0.0
) -> Controlled:
    """Return the answer that the interval of a difference gives: yes if its lower end is above 0.

    Args:
        value: Figure of the model with its interval.
        control: Figure of the control.
        difference: Value less control, with its interval.
        measure: Name of the figure.
        control_of: Origin of the control.
        margin: Loss up to which the answer is yes; if it is above 0, the answer is no only where a larger loss is
            shown.
    """
    low, high = difference.low, difference.high
    if low is None or high is None or difference.units < FEWEST_UNITS:
        holds = None
    elif margin:
        holds = True if low >= -margin - TOLERANCE else False if high < -margin else None
    else:
        holds = low > 0
    return Controlled(
        measure, value.mean, value.low, value.high, value.count, control, control_of, low, high, margin, holds
    )


def not_below(share: Share, before: Share, *, measure: str, control_of: str, confidence: float) -> Controlled:
    """Return whether a share is no more than :data:`KEPT_MARGIN` below what it was.

    Yes, where the interval of the change lies above minus the margin; no, where it lies below; else not answered.

    Args:
        share: Hits and trials now.
        before: Hits and trials before.
        measure: Name of the figure.
        control_of: Origin of the figure before.
        confidence: Level of confidence.

    Example:
        >>> then = {"measure": "accuracy", "control_of": "when learnt", "confidence": 0.95}
        >>> [not_below(Share(hits, 1000), Share(900, 1000), **then).holds for hits in (895, 860, 500)]
        [True, None, False]
    """
    value, level = share.interval(confidence), before.interval(confidence)
    return of_difference(value, level.mean, difference_of(value, level), measure, control_of, KEPT_MARGIN)


def answer(basis: Sequence[Controlled]) -> bool | None:
    """Return the answer to a question: no if one comparison says so, yes if all hold, else None.

    Example:
        >>> answer([]) is None
        True
    """
    answers = [each.holds for each in basis]
    if False in answers:
        return False
    return True if answers and all(answers) else None


def learning_verdict(learnt: Sequence[Controlled], kept: Sequence[Controlled]) -> dict[str, Any]:
    """Return the content of :class:`~myosotis.engine.result.LearningVerdict`.

    What was not shown to be learnt is never called kept.

    Args:
        learnt: Comparisons with models that learnt nothing.
        kept: Comparisons with what was there before.
    """
    has_learnt, has_kept = answer(learnt), answer(kept)
    return {
        "learnt": has_learnt,
        "kept": has_kept if has_learnt else None,
        "learnt_basis": [each.as_json() for each in learnt],
        "kept_basis": [each.as_json() for each in kept],
    }
