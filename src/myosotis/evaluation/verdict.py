"""The basis of a verdict: comparisons with their intervals, and a positive control."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.rank_test import RankTest

TOLERANCE = 1e-6
"""Figures that differ by no more than rounding are equal: a threshold of 0 is met by 0."""

FEWEST_UNITS = 5
"""With fewer independent subjects no comparison is decided."""


@dataclass(frozen=True)
class Criterion:
    """One comparison that a verdict rests on.

    Attributes:
        name: Name of the figure.
        value: Figure of the model, with its interval, count and units.
        threshold: Threshold of the figure; its ends are None where it is fixed.
        threshold_of: Origin of the threshold.
        sign: ``"<="``: the value may be at most the threshold; ``">="``: at least.
        difference: Value less threshold, with its interval; None where the value has no interval.
        margin: Distance by which the interval of the difference may exceed the threshold in a decided comparison.
        total: Number of records; ``value.count`` of them could be measured.
        incomparable: Reason why the two cannot be compared; None where they can.
    """

    name: str
    value: Interval
    threshold: Interval
    threshold_of: str
    sign: Literal["<=", ">="]
    difference: Interval | None = None
    margin: float = 0.0
    total: int | None = None
    incomparable: str | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value meets the threshold, ties within rounding included; None if incomparable."""
        if self.incomparable is not None:
            return None
        excess = self.value.mean - self.threshold.mean
        return excess <= TOLERANCE if self.sign == "<=" else excess >= -TOLERANCE

    @property
    def decided(self) -> bool:
        """Whether the interval of the difference allows only one answer; never with fewer than five units."""
        if self.holds is None or self.difference is None or self.difference.units < FEWEST_UNITS:
            return False
        low, high = self.difference.low, self.difference.high
        if low is None or high is None:
            return False
        if self.sign == ">=":
            low, high = -high, -low
        return high <= self.margin + TOLERANCE if self.holds else low > self.margin

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``result.json``."""
        difference = self.difference
        return {
            "name": self.name,
            "value": _number(self.value.mean),
            "low": self.value.low,
            "high": self.value.high,
            "count": self.value.count,
            "total": self.value.count if self.total is None else self.total,
            "units": self.value.units,
            "sign": self.sign,
            "threshold": _number(self.threshold.mean),
            "threshold_low": self.threshold.low,
            "threshold_high": self.threshold.high,
            "threshold_of": self.threshold_of,
            "threshold_units": self.threshold.units,
            "difference_low": None if difference is None else difference.low,
            "difference_high": None if difference is None else difference.high,
            "margin": self.margin,
            "incomparable": self.incomparable,
            "holds": self.holds,
            "decided": self.decided,
        }


@dataclass(frozen=True)
class Control:
    """Positive control: whether the model knew these records better than unseen ones.

    Attributes:
        measure: Name of the figure.
        value: Figure of the model on the records.
        level: Figure on unseen records, or of a model that never saw the records.
        level_of: Origin of the level.
        difference: Value less level, with its interval.
        test: One-sided test that the value is higher.
        confidence: Level of confidence.
        margin: Difference below which the two count as equal.
    """

    measure: str
    value: Interval
    level: Interval
    level_of: str
    difference: Interval
    test: RankTest
    confidence: float
    margin: float

    @property
    def known(self) -> bool | None:
        """True if the difference is significant, False if it is shown to be below the margin, else None."""
        if self.test.shows(self.confidence) and self.difference.mean > TOLERANCE:
            return True
        high = self.difference.high
        enough = self.difference.units >= FEWEST_UNITS
        return False if enough and high is not None and high < self.margin else None

    def as_json(self) -> dict[str, Any]:
        """Return the content for ``result.json``."""
        return {
            "measure": self.measure,
            "value": self.value.mean,
            "low": self.value.low,
            "high": self.value.high,
            "units": self.value.units,
            "level": self.level.mean,
            "level_low": self.level.low,
            "level_high": self.level.high,
            "level_of": self.level_of,
            "level_units": self.level.units,
            "difference_low": self.difference.low,
            "difference_high": self.difference.high,
            "p_value": self.test.p_value,
            "smallest_p_value": self.test.smallest,
            "known": self.known,
        }


def _number(value: float) -> float | None:
    """The number, or None for NaN, which JSON cannot write."""
    return None if math.isnan(value) else value


def fixed(value: float) -> Interval:
    """Return a threshold that was not measured.

    Example:
        >>> fixed(0.9).low is None
        True
    """
    return Interval(value, None, None, 0, 0)


def all_hold(criteria: list[Criterion]) -> bool | None:
    """Return whether all comparable criteria hold; None if there are none.

    Args:
        criteria: Criteria of one question.
    """
    comparable = [row.holds for row in criteria if row.holds is not None]
    return all(comparable) if comparable else None
