"""Rank tests over independent units."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import scipy  # its parts are loaded where they are used, half a second each
import torch
from jaxtyping import Float
from torch import Tensor

Alternative = Literal["less", "greater", "two-sided"]

_MAX_SPLITS = 20_000
"""Up to this number of splits of the units the test is exact; beyond, the normal approximation is used."""

_MAX_PAIRS = 14
"""Up to this number of pairs the paired test is exact, over all signs of the differences."""


@dataclass(frozen=True)
class RankTest:
    """The outcome of a rank test.

    Attributes:
        p_value: Probability of a split at least as extreme if the two sets did not differ.
        smallest: Smallest p-value that this number of units can give at all.
        units: Number of independent units of each set, or of pairs.
    """

    p_value: float
    smallest: float
    units: tuple[int, int]

    def shows(self, level: float) -> bool:
        """Whether the difference is significant at this level of confidence."""
        return self.p_value <= 1 - level + 1e-9

    def could_show(self, level: float) -> bool:
        """Whether any outcome could have been significant with this number of units."""
        return self.smallest <= 1 - level + 1e-9


def rank_test(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    *,
    alternative: Alternative = "two-sided",
) -> RankTest:
    """Test whether one set's values rank lower, or higher, than another's (Mann and Whitney, 1947).

    The units are the means of groups, as values of one group are not independent. With few units the null distribution
    is exact, ties included: with 2 against 2 no outcome is significant at 5 %.

    Args:
        values: Values of the first set; NaN is left out.
        others: Values of the second set.
        groups: Group of each value; None if all values are independent.
        other_groups: Group of each of the others.
        alternative: Alternative hypothesis about the first set.

    Raises:
        ValueError: A side has no value.

    Example:
        >>> import torch
        >>> rank_test(torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4])).p_value
        0.3333333333333333
    """
    first, second = group_means(values, groups), group_means(others, other_groups)
    splits = math.comb(len(first) + len(second), len(first))
    if splits <= _MAX_SPLITS:
        ranks = scipy.stats.rankdata(first + second).tolist()
        null = [math.fsum(ranks_of_first) for ranks_of_first in combinations(ranks, len(first))]
        p_value = _tail(math.fsum(ranks[: len(first)]), null, alternative)
    else:
        p_asymptotic = scipy.stats.mannwhitneyu(first, second, alternative=alternative, method="asymptotic").pvalue
        p_value = 1.0 if math.isnan(p_asymptotic) else float(p_asymptotic)  # everything is tied
    sides = 2 if alternative == "two-sided" else 1
    return RankTest(p_value, min(1.0, sides / splits), (len(first), len(second)))


def stratified_rank_test(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    strata: Sequence[Hashable],
    other_strata: Sequence[Hashable],
    *,
    alternative: Alternative = "two-sided",
) -> RankTest:
    r"""Test whether values rank lower, or higher, than others of the same stratum (van Elteren, 1960).

    With \(R_k\) the sum of the ranks of the first set among all \(N_k\) values of stratum k, the statistic is
    \(\sum_k R_k / (N_k + 1)\). Its null distribution is exact, ties included, up to a number of splits; beyond, it is
    the normal one with the variance of a draw without replacement. With a single stratum this is :func:`rank_test`.

    Args:
        values: Values of the first set, independent of each other; NaN is left out.
        others: Values of the second set.
        strata: Stratum of each value, e.g. its class; strata that only one set has are left out.
        other_strata: Stratum of each of the others.
        alternative: Alternative hypothesis about the first set.

    Raises:
        ValueError: No stratum has values of both sets, or there is not one stratum per value.

    Example:
        >>> import torch
        >>> easy, hard = [0.1, 0.2], [5.0, 6.0]
        >>> mixed = stratified_rank_test(torch.tensor(easy), torch.tensor([0.1, 0.2, *hard]), "aa", "aabb")
        >>> mixed.p_value, mixed.units
        (1.0, (2, 2))
    """
    first, second = _by_stratum(values, strata), _by_stratum(others, other_strata)
    pairs = [(own, second[name]) for name, own in first.items() if name in second]
    if not pairs:
        raise ValueError("no stratum has values of both sets")
    if len(pairs) == 1:
        lone, opposite = (torch.tensor(side, dtype=torch.float64) for side in pairs[0])
        return rank_test(lone, opposite, alternative=alternative)
    units = sum(len(own) for own, _ in pairs), sum(len(other) for _, other in pairs)
    splits = math.prod(math.comb(len(own) + len(other), len(own)) for own, other in pairs)
    observed, null = 0.0, [0.0]
    mean = variance = 0.0
    for own, other in pairs:
        total = len(own) + len(other)
        scores = [rank / (total + 1) for rank in scipy.stats.rankdata(own + other).tolist()]
        observed += math.fsum(scores[: len(own)])
        if splits <= _MAX_SPLITS:
            sums = [math.fsum(chosen) for chosen in combinations(scores, len(own))]
            null = [before + more for before in null for more in sums]
        mean += len(own) / 2
        squares = math.fsum((score - 0.5) ** 2 for score in scores)
        variance += len(own) * len(other) / total * squares / (total - 1)
    if splits <= _MAX_SPLITS:
        p_value = _tail(observed, null, alternative)
    elif variance <= 0:  # everything is tied
        p_value = 1.0
    else:
        z = (observed - mean) / math.sqrt(variance)
        lower = float(scipy.special.ndtr(z))
        upper = float(scipy.special.ndtr(-z))
        p_value = {"less": lower, "greater": upper, "two-sided": min(1.0, 2 * min(lower, upper))}[alternative]
    sides = 2 if alternative == "two-sided" else 1
    return RankTest(p_value, min(1.0, sides / splits), units)


def paired_rank_test(
    values: Float[Tensor, " count"],
    others: Float[Tensor, " others"],
    groups: Sequence[Hashable] | None = None,
    *,
    alternative: Alternative = "two-sided",
) -> RankTest:
    """Test whether values are lower, or higher, than others of the same records (Wilcoxon's signed ranks, 1945).

    Args:
        values: Values of one model; a pair with a NaN is left out.
        others: Values of another model, for the same records.
        groups: Group of each pair; None if all pairs are independent.
        alternative: Alternative hypothesis about the first model.

    Raises:
        ValueError: There is no pair, or the lengths differ.
    """
    if len(values) != len(others):
        raise ValueError(f"expected pairs, got {len(values)} and {len(others)} values")
    means = group_means(values.double() - others.double(), groups)
    differences, pairs = [value for value in means if abs(value) > 1e-12], len(means)
    if not differences:
        p_value = 1.0
    elif len(differences) <= _MAX_PAIRS:
        ranks = scipy.stats.rankdata([abs(value) for value in differences]).tolist()
        positive = math.fsum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
        null = [
            math.fsum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
            for signs in product((False, True), repeat=len(ranks))
        ]
        p_value = _tail(positive, null, alternative)
    else:
        p_value = float(scipy.stats.wilcoxon(differences, alternative=alternative, method="asymptotic").pvalue)
    sides = 2 if alternative == "two-sided" else 1
    return RankTest(p_value, min(1.0, sides / 2**pairs), (pairs, pairs))


def _by_stratum(values: Tensor, strata: Sequence[Hashable]) -> dict[Hashable, list[float]]:
    if len(strata) != len(values):
        raise ValueError(f"expected one stratum per value, got {len(strata)} for {len(values)}")
    by_stratum: dict[Hashable, list[float]] = {}
    for value, name in zip(values.double().tolist(), strata, strict=True):
        if not math.isnan(value):
            by_stratum.setdefault(name, []).append(value)
    return by_stratum


def _tail(observed: float, null: Sequence[float], alternative: Alternative) -> float:
    """The share of equally likely rank sums that are at least as extreme as the observed one."""
    middle, rounding = math.fsum(null) / len(null), 1e-9
    if alternative == "less":
        extreme = sum(value <= observed + rounding for value in null)
    elif alternative == "greater":
        extreme = sum(value >= observed - rounding for value in null)
    else:
        extreme = sum(abs(value - middle) >= abs(observed - middle) - rounding for value in null)
    return extreme / len(null)


def group_means(values: Float[Tensor, " count"], groups: Sequence[Hashable] | None = None) -> list[float]:
    """Return the mean of each group in float64, in the order in which groups appear; NaN is left out.

    Raises:
        ValueError: All values are missing, or there is not one group per value.
    """
    if groups is not None and len(groups) != len(values):
        raise ValueError(f"expected one group per value, got {len(groups)} for {len(values)}")
    by_group: dict[Hashable, list[float]] = {}
    for index, value in enumerate(values.double().tolist()):
        if not math.isnan(value):
            by_group.setdefault(index if groups is None else groups[index], []).append(value)
    if not by_group:
        raise ValueError("no value to compare")
    return [math.fsum(members) / len(members) for members in by_group.values()]
