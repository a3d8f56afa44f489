"""Confidence intervals that hold with few independent units."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import scipy  # its parts are loaded where they are used: a quarter of a second
import torch
from jaxtyping import Float
from torch import Tensor

_MIN_DIFFERENT = 3
"""Groups that must differ from 0 or 1 before their variance is trusted."""

_EDGE = 1e-9  # a mean this near to 0 or 1 counts as 0 or 1


@dataclass(frozen=True)
class Interval:
    """A mean, or a difference of means, with its confidence interval.

    Attributes:
        mean: Mean of the values.
        low: Lower end; None for a single unit, which has no variance.
        high: Upper end, or None.
        count: Number of values.
        units: Number of independent units: groups, where values were grouped; the smaller number for a difference.
    """

    mean: float
    low: float | None
    high: float | None
    count: int
    units: int

    def transformed(self, change: Callable[[float], float]) -> "Interval":
        """Return the interval of an increasing function of the quantity.

        Args:
            change: Function that is applied to the mean and to both ends.

        Example:
            >>> Interval(0.0, -1.0, 1.0, 8, 4).transformed(lambda x: x / 2).high
            0.5
        """
        low, high = (None if end is None else change(end) for end in (self.low, self.high))
        return Interval(change(self.mean), low, high, self.count, self.units)

    @property
    def sign(self) -> int:
        """1 where the whole interval lies above 0, -1 where it lies below, else 0.

        Example:
            >>> [Interval(mean, mean - 1, mean + 1, 8, 4).sign for mean in (2.0, 0.5, -2.0)]
            [1, 0, -1]
        """
        if self.low is None or self.high is None:
            return 0
        return (self.low > 0) - (self.high < 0)


_MIN_FREEDOM = 0.5
"""Smallest degrees of freedom of a ratio, reached where one group holds nearly all of its size."""


@dataclass(frozen=True)
class _Groups:
    """The mean of each group, in the order in which the groups appear: a group weighs as one, whatever its size.

    Attributes:
        sums: Sum of the values of each group.
        counts: Number of values of each group.
    """

    sums: Tensor
    counts: Tensor

    @property
    def means(self) -> Tensor:
        return self.sums / self.counts

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def units(self) -> int:
        return len(self.counts)

    @property
    def mean(self) -> float:
        return self.means.mean().item()

    @property
    def nearly_all_alike(self) -> bool:
        """Whether fewer than three groups differ from 0, or from 1: too few to tell how much groups differ."""
        edge = round(self.mean)
        return int(((self.means - edge).abs() > _EDGE).sum()) < _MIN_DIFFERENT

    @property
    def variance(self) -> float:
        """Variance of the mean of the groups; of at least two."""
        return self.means.var().item() / self.units

    def quantile(self, level: float) -> float:
        return _quantile(self.units - 1, level)


def mean_interval(
    values: Float[Tensor, " count"], groups: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Interval:
    r"""Return the mean of values in [0, 1] and its score interval with an effective size.

    Values of one group, e.g. several questions about one person, are not independent, so the mean is that of the means
    of groups: each group weighs as one. With p this mean and v its variance between groups, the score interval (Wilson,
    1927) is taken at the size \(n = p(1 - p) / v\), limited to the range from the number of groups less one to the
    number of values, with Student's quantile for the number of groups in place of the normal one. At p = 0 or 1, where
    there is no variance, n is the number of groups, and at most that while fewer than three groups differ from 0 or 1:
    a value lost must not make a figure more certain than nothing lost. ``benchmarks/intervals.py`` measures the
    coverage: at least .93 where the cluster bootstrap has .70 to .90.

    Args:
        values: Values; NaN marks a missing value, which is left out.
        groups: Group of each value; None if all values are independent.
        level: Level of confidence, in (0, 1).

    Returns:
        Interval, without ends for a single group.

    Raises:
        ValueError: All values are missing, a value lies outside [0, 1], or ``level`` is out of range.

    Example:
        >>> interval = mean_interval(torch.tensor([0.0, 0.0, 0.0, 0.0]))
        >>> interval.low, round(interval.high, 2)
        (0.0, 0.72)
    """
    grouped = _grouped(values, groups, level)
    if not bool(((values >= 0) & (values <= 1) | values.isnan()).all()):
        raise ValueError("a value lies outside [0, 1]; use student_interval")
    return _score(grouped, level)


def student_interval(
    values: Float[Tensor, " count"], groups: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Interval:
    """Return the mean of groups and its interval by Student's t on the means of groups.

    For probabilities, log-likelihoods, logarithms of ratios, and other continuous figures.

    Args:
        values: Values; NaN marks a missing value, which is left out.
        groups: Group of each value; None if all values are independent.
        level: Level of confidence, in (0, 1).

    Returns:
        Interval, without ends for a single group.

    Raises:
        ValueError: All values are missing, or ``level`` is out of range.
    """
    grouped = _grouped(values, groups, level)
    return _student(grouped, level)


def ratio_interval(
    sums: Float[Tensor, " count"],
    sizes: Float[Tensor, " count"],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Return the ratio of two sums over units, e.g. of log-likelihoods over tokens, and its interval by Student's t.

    Args:
        sums: Summand of the numerator for each value.
        sizes: Summand of the denominator for each value, above 0.
        groups: Group of each value; None if all values are independent.
        level: Level of confidence, in (0, 1).

    Returns:
        Interval, without ends for a single group.

    Raises:
        ValueError: There is no value, a size is not above 0, or ``level`` is out of range.
    """
    if not bool((sizes > 0).all()):
        raise ValueError("sizes must be above 0")
    by_sum, by_size = (_grouped(part.double(), groups, level).sums for part in (sums, sizes))
    ratio, units = (by_sum.sum() / by_size.sum()).item(), len(by_sum)
    if units == 1:
        return Interval(ratio, None, None, len(sums), 1)
    deviations = (by_sum - by_size * ratio) / by_size.sum()
    # The number of groups of equal size with the same information (Kish, 1965).
    effective = (by_size.sum().square() / by_size.square().sum()).item()
    error = math.sqrt(units / (units - 1) * deviations.square().sum().item())
    half = _quantile(max(effective - 1, _MIN_FREEDOM), level) * error
    return Interval(ratio, ratio - half, ratio + half, len(sums), units)


def difference_interval(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Return the difference of two means of values in [0, 1], of different units, and its interval.

    The two intervals of :func:`mean_interval` combined by their squares (Newcombe, "Interval estimation for the
    difference between independent proportions", Statistics in Medicine 1998, method 10).

    Args:
        values: Values of the first set; NaN is left out.
        others: Values of the second set.
        groups: Group of each value.
        other_groups: Group of each of the others.
        level: Level of confidence, in (0, 1).

    Raises:
        ValueError: As :func:`mean_interval`.
    """
    first, second = mean_interval(values, groups, level=level), mean_interval(others, other_groups, level=level)
    return _combined(first, second, share=1.0, correlation=0.0)


def change_interval(
    after: Float[Tensor, " count"],
    before: Float[Tensor, " before"],
    groups: Sequence[Hashable] | None = None,
    *,
    share: float = 1.0,
    level: float = 0.95,
) -> Interval:
    """Return the mean after less a share of the mean before, over the same units, and its interval.

    As :func:`difference_interval`, with the correlation of the groups' means taken into account (Newcombe, "Improved
    confidence intervals for the difference between binomial proportions based on paired data", Statistics in Medicine
    1998, method 10); a correlation below 0 counts as 0, one above .9 as .9, as few groups do not estimate it better.

    Args:
        after: Values in [0, 1]; a pair with a NaN is left out.
        before: Values of the same records, in the same order.
        groups: Group of each pair.
        share: Factor of ``before``: 1 for the plain change, .95 to test whether 95 % are left.
        level: Level of confidence, in (0, 1).

    Raises:
        ValueError: As :func:`mean_interval`, or the lengths differ.
    """
    if len(after) != len(before):
        raise ValueError(f"expected pairs, got {len(after)} values after and {len(before)} before")
    missing = after.isnan() | before.isnan()
    nan = torch.full_like(after, math.nan)
    sides = [torch.where(missing, nan, side.to(after.dtype)) for side in (after, before)]
    first, second = (mean_interval(side, groups, level=level) for side in sides)
    means = [_grouped(side, groups, level).means for side in sides]
    deviations, other_deviations = (side - side.mean() for side in means)
    scale = (deviations.square().sum() * other_deviations.square().sum()).sqrt().item()
    correlation = (deviations * other_deviations).sum().item() / scale if scale > 0 else 0.0
    return _combined(first, second, share, min(max(correlation, 0.0), 0.9))


def student_difference(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Return the difference of two means of continuous values, of different units, and its interval.

    Student's t on the means of groups, without the assumption of equal variances (Welch, "The generalization of
    'Student's' problem when several different population variances are involved", Biometrika 1947).

    Args:
        values: Values of the first set; NaN is left out.
        others: Values of the second set.
        groups: Group of each value.
        other_groups: Group of each of the others.
        level: Level of confidence, in (0, 1).

    Returns:
        Interval, without ends where a set is a single group.

    Raises:
        ValueError: As :func:`student_interval`.
    """
    first, second = _grouped(values, groups, level), _grouped(others, other_groups, level)
    mean, count, units = (
        first.mean - second.mean,
        min(first.total, second.total),
        min(first.units, second.units),
    )
    if units == 1:
        return Interval(mean, None, None, count, units)
    variances = first.variance, second.variance
    total = sum(variances)
    parts = sum(own**2 / (side.units - 1) for own, side in zip(variances, (first, second), strict=True))
    half = _quantile(total**2 / parts, level) * math.sqrt(total) if parts > 0 else 0.0
    return Interval(mean, mean - half, mean + half, count, units)


def student_change(
    after: Float[Tensor, " count"],
    before: Float[Tensor, " before"],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Interval:
    """Return the mean change of continuous values of the same records, and its interval by Student's t on groups.

    Args:
        after: Values; a pair with a NaN is left out.
        before: Values of the same records, in the same order.
        groups: Group of each pair.
        level: Level of confidence, in (0, 1).

    Raises:
        ValueError: As :func:`student_interval`, or the lengths differ.
    """
    if len(after) != len(before):
        raise ValueError(f"expected pairs, got {len(after)} values after and {len(before)} before")
    return student_interval(after.double() - before.double(), groups, level=level)


def clopper_pearson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson, 1934).

    Args:
        hits: Number of successes.
        trials: Number of trials, at least 1.
        level: Level of confidence, in (0, 1).

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> low, high = clopper_pearson(0, 16)
        >>> low, round(high, 4)
        (0.0, 0.2059)
    """
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"hits must be in 0 to trials, got {hits} of {trials}")
    _check_level(level)
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(scipy.special.betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits == trials else float(scipy.special.betaincinv(hits + 1, trials - hits, 1 - tail))
    return low, high


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of runs with its interval by Student's t; without ends for a single run.

    Args:
        values: One figure per run.
        level: Level of confidence, in (0, 1).

    Raises:
        ValueError: There is no value, or ``level`` is out of range.

    Example:
        >>> interval = t_interval([1.0, 2.0, 3.0])
        >>> interval.mean, round(interval.low, 3), round(interval.high, 3)
        (2.0, -0.484, 4.484)
    """
    return student_interval(torch.tensor(values, dtype=torch.float64), level=level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")


def _grouped(values: Tensor, groups: Sequence[Hashable] | None, level: float) -> _Groups:
    """Sum up the values that are not missing by group, in float64."""
    _check_level(level)
    if groups is not None and len(groups) != len(values):
        raise ValueError(f"expected one group per value, got {len(groups)} for {len(values)}")
    present = [index for index, missing in enumerate(values.isnan().tolist()) if not missing]
    if not present:
        raise ValueError("no value to average")
    names = [index if groups is None else groups[index] for index in present]
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    member = torch.tensor([order[name] for name in names])
    numbers = values[present].double().cpu()
    zeros = torch.zeros(len(order), dtype=torch.float64)
    return _Groups(zeros.index_add(0, member, numbers), zeros.index_add(0, member, torch.ones_like(numbers)))


def _score(grouped: _Groups, level: float) -> Interval:
    mean, units = grouped.mean, grouped.units
    if units == 1:
        return Interval(mean, None, None, grouped.total, 1)
    q = grouped.quantile(level)
    if mean <= _EDGE or mean >= 1 - _EDGE:
        low, high = _wilson(round(mean), units, q)
    else:
        size = mean * (1 - mean) / grouped.variance if grouped.variance > 0 else math.inf
        low, high = _wilson(mean, min(max(size, units - 1), units if grouped.nearly_all_alike else grouped.total), q)
    # The ends enclose the mean; at 0 and 1 rounding must not exclude it.
    low, high = min(max(0.0, low), mean), max(min(1.0, high), mean)
    return Interval(mean, 0.0 if mean <= _EDGE else low, 1.0 if mean >= 1 - _EDGE else high, grouped.total, units)


def _wilson(mean: float, size: float, q: float) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    spread = q * q / size
    centre = (mean + spread / 2) / (1 + spread)
    half = math.sqrt(max(mean * (1 - mean), 0.0) * spread + spread * spread / 4) / (1 + spread)
    return centre - half, centre + half


def _student(grouped: _Groups, level: float) -> Interval:
    mean = grouped.mean
    if grouped.units == 1:
        return Interval(mean, None, None, grouped.total, 1)
    half = grouped.quantile(level) * math.sqrt(grouped.variance)
    return Interval(mean, mean - half, mean + half, grouped.total, grouped.units)


def _quantile(freedom: float, level: float) -> float:
    return float(scipy.special.stdtrit(freedom, (1 + level) / 2))


def _combined(first: Interval, second: Interval, share: float, correlation: float) -> Interval:
    """The interval of ``first`` less a share of ``second``, from both intervals."""
    mean = first.mean - share * second.mean
    count, units = min(first.count, second.count), min(first.units, second.units)
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Interval(mean, None, None, count, units)

    def reach(distance: float, other_distance: float) -> float:
        other_distance *= share
        return math.sqrt(
            max(
                distance * distance + other_distance * other_distance - 2 * correlation * distance * other_distance, 0.0
            )
        )

    low = mean - reach(first.mean - first.low, second.high - second.mean)
    high = mean + reach(first.high - first.mean, second.mean - second.low)
    return Interval(mean, low, high, count, units)
