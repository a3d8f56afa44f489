"""Figures against those of other units of the same strata, e.g. photos against test images of their classes.

Some classes are easier than others, so photos of one class say nothing next to images of all. Each value is compared
with the mean of its own stratum: the others count as if their strata occurred as often as among the values.

    >>> values, others = torch.tensor([0.95, 0.95]), torch.tensor([0.8, 1.0, 0.1, 0.3])
    >>> side = matched(values, others, ["easy", "easy"], ["easy", "easy", "hard", "hard"])
    >>> round(side.level, 6), round(side.difference(0.95).mean, 6)
    (0.9, 0.05)
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import scipy  # its parts are loaded where they are used, half a second each
import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.evaluation.intervals import Interval


@dataclass(frozen=True)
class Matched:
    """Values, and others of their strata; see :func:`matched`.

    Attributes:
        values: Values whose stratum the others have.
        strata: Stratum of each value.
        others: Others whose stratum the values have.
        other_strata: Stratum of each of the others.
    """

    values: Tensor
    strata: tuple[Hashable, ...]
    others: Tensor
    other_strata: tuple[Hashable, ...]

    @property
    def weights(self) -> Float[Tensor, " others"]:
        """Weight of each of the others; they sum up to 1, those of a stratum to its share of the values."""
        own, other = Counter(self.strata), Counter(self.other_strata)
        weights = [own[name] / (len(self.strata) * other[name]) for name in self.other_strata]
        return torch.tensor(weights, dtype=torch.float64)

    @property
    def level(self) -> float:
        """Mean of the others, each stratum as often as among the values."""
        return (self.weights * self.others).sum().item()

    @property
    def expected(self) -> Float[Tensor, " count"]:
        """For each value the mean of the others of its stratum."""
        means = {name: rows.mean().item() for name, rows in self._by_stratum().items()}
        return torch.tensor([means[name] for name in self.strata], dtype=torch.float64)

    def level_interval(self, confidence: float) -> Interval:
        """Return the level with its interval by Student's t."""
        parts = self._variances()
        return _student(self.level, parts, confidence, len(self.others))

    def share_interval(self, confidence: float) -> Interval:
        """Return the level of values that are 0 or 1 with Wilson's score interval at the effective size (Kish, 1965).

        Of the effective size one is taken off, as :func:`~myosotis.evaluation.intervals.mean_interval` does.

        Args:
            confidence: Level of confidence.
        """
        count = len(self.others)
        if count == 1:
            return Interval(self.level, None, None, count, count)
        mean, size = min(max(self.level, 0.0), 1.0), 1 / self.weights.square().sum().item() - 1
        spread = float(scipy.special.stdtrit(count - 1, (1 + confidence) / 2)) ** 2 / size
        centre = (mean + spread / 2) / (1 + spread)
        half = math.sqrt(mean * (1 - mean) * spread + spread * spread / 4) / (1 + spread)
        return Interval(mean, max(0.0, min(centre - half, mean)), min(1.0, max(centre + half, mean)), count, count)

    def difference(self, confidence: float) -> Interval:
        """Return the mean of the values less the level with its interval.

        By Student's t with the degrees of freedom of Welch and Satterthwaite; for a single stratum, Welch's interval.

        Args:
            confidence: Level of confidence.
        """
        gaps, units = self.values - self.expected, min(len(self.values), len(self.others))
        if len(gaps) == 1:
            return Interval(gaps.item(), None, None, 1, 1)
        own = (gaps.var().item() / len(gaps), len(gaps) - 1.0)
        return _student(gaps.mean().item(), [own, *self._variances()], confidence, units)

    def _by_stratum(self) -> dict[Hashable, Tensor]:
        indices: dict[Hashable, list[int]] = {}
        for index, name in enumerate(self.other_strata):
            indices.setdefault(name, []).append(index)
        return {name: self.others[rows] for name, rows in indices.items()}

    def _variances(self) -> list[tuple[float, float]]:
        """By stratum, the part of the variance of the level and its degrees of freedom; a lone one takes the pooled."""
        strata = self._by_stratum()
        freedom = len(self.others) - len(strata)
        if freedom == 0:
            return [(math.nan, 0.0)]
        squares = sum((rows - rows.mean()).square().sum().item() for rows in strata.values())
        counts, total, parts = Counter(self.strata), len(self.strata), []
        for name, rows in strata.items():
            lone = len(rows) == 1
            variance = squares / freedom if lone else rows.var().item()
            parts.append(
                ((counts[name] / total) ** 2 * variance / len(rows), float(freedom if lone else len(rows) - 1))
            )
        return parts


def matched(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    strata: Sequence[Hashable],
    other_strata: Sequence[Hashable],
) -> Matched | None:
    """Return values with the others of their strata; None where no stratum has both.

    Args:
        values: Values, independent of each other.
        others: Values to compare them with.
        strata: Stratum of each value; strata that only one side has are left out.
        other_strata: Stratum of each of the others.

    Raises:
        ValueError: There is not one stratum per value.
    """
    for side, names in ((values, strata), (others, other_strata)):
        if len(side) != len(names):
            raise ValueError(f"expected one stratum per value, got {len(names)} for {len(side)}")
    shared = set(strata) & set(other_strata)
    if not shared:
        return None
    own, other = ([index for index, name in enumerate(names) if name in shared] for names in (strata, other_strata))
    return Matched(
        values[own].double().cpu(),
        tuple(strata[index] for index in own),
        others[other].double().cpu(),
        tuple(other_strata[index] for index in other),
    )


def _student(mean: float, parts: Sequence[tuple[float, float]], confidence: float, units: int) -> Interval:
    """The interval of a mean whose variance is a sum of parts, each with its degrees of freedom."""
    variance = math.fsum(part for part, _ in parts)
    if math.isnan(variance):
        return Interval(mean, None, None, units, units)
    of_parts = math.fsum(part**2 / freedom for part, freedom in parts)
    half = 0.0
    if of_parts > 0:
        half = float(scipy.special.stdtrit(variance**2 / of_parts, (1 + confidence) / 2)) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, units, units)
