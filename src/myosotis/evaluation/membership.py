"""Membership inference: how well a score separates training samples from others."""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import Any

import scipy  # its parts are loaded where they are used: half a second each
import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.result import ResultPart
from myosotis.evaluation.rank_test import RankTest, rank_test, stratified_rank_test
from myosotis.evaluation.stratified import Matched, matched

LOW_RATES = (0.01, 0.1)
"""False-positive rates at which the true-positive rate is reported."""

_FEW_REVERSED = 0.25
"""With fewer groups of the smaller side on the wrong side of the others, their variance says too little."""

_MIN_UNITS = 5
"""With fewer units on a side an interval of the AUC does not have its nominal coverage."""


def roc_auc(members: Float[Tensor, " members"], others: Float[Tensor, " others"]) -> float:
    """Return the probability that a member scores **lower** than a non-member, ties counting half.

    Scores are like losses: low means that the model knows the sample. 1 is full memorisation, 0.5 no trace, and below
    0.5 members look less like members than samples that were never seen: a sign of over-unlearning.

    Args:
        members: Scores of training samples, or of samples that should be forgotten.
        others: Scores of samples that were never trained on.

    Raises:
        ValueError: A side is empty or holds NaN.

    Example:
        >>> roc_auc(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.3]))
        0.875
    """
    _check(members, others)
    return _share_above(members.double().cpu(), others.double().cpu()).mean().item()


def shortfall(scores: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return how far the score of the true class is below the best other one: low where a sample is known well.

    Args:
        scores: Scores of at least two classes, of any scale: logits, cosines or negative distances.
        labels: True classes.

    Example:
        >>> shortfall(torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 5.0]]), torch.tensor([0, 1])).tolist()
        [-2.0, 3.0]
    """
    column = labels.unsqueeze(1)
    rivals = scores.scatter(1, column, -torch.inf).amax(1)
    return rivals - scores.gather(1, column).squeeze(1)


def tpr_at_fpr(members: Float[Tensor, " members"], others: Float[Tensor, " others"], rate: float) -> float:
    """Return the share of members flagged by the loosest threshold that flags at most ``rate`` of the non-members.

    Args:
        members: Scores of members; low scores are flagged.
        others: Scores of non-members. With fewer than 1/rate of them no false alarm at all is allowed.
        rate: False-positive rate in [0, 1).

    Raises:
        ValueError: A side is empty or holds NaN, or the rate is out of range.

    Example:
        >>> tpr_at_fpr(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.3, 0.8]), rate=0.01)
        0.6666666865348816
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the false-positive rate must be in [0, 1), got {rate}")
    _check(members, others)
    allowed = int(rate * len(others) + 1e-9)
    # Scores strictly below the first non-member that must not be flagged are flagged.
    limit = others.sort().values[allowed]
    return (members < limit).float().mean().item()


class Membership(ResultPart):
    """Result of membership inference."""

    auc: float
    """AUC, see :func:`roc_auc`."""
    low: float | None
    """Lower end of its interval; null with fewer than 5 units on a side."""
    high: float | None
    """Upper end of its interval."""
    tpr_at_fpr: dict[str, float]
    """True-positive rates at low false-positive rates, by the rate."""
    members: int
    """Number of members."""
    others: int
    """Number of non-members."""
    member_units: int
    """Independent units of the members."""
    other_units: int
    """Independent units of the non-members."""
    p_value: float
    """p-value of the two-sided rank test over units."""
    decidable: bool
    """Whether this number of units could have shown a difference at all."""
    level: float
    """Level of confidence."""
    over_unlearned: bool
    """Whether members are significantly *less* likely than unseen samples, so that an observer can find them."""
    traceable: bool
    """Whether members are significantly more likely than unseen samples."""

    @classmethod
    def of(cls, auc: float, test: RankTest, level: float, **figures: Any) -> "Membership":
        """Return the result of a test over units at a level of confidence, with further figures."""
        shown = test.p_value <= 1 - level + 1e-9
        return cls(
            auc=auc,
            member_units=test.units[0],
            other_units=test.units[1],
            p_value=test.p_value,
            decidable=test.could_show(level),
            level=level,
            over_unlearned=shown and auc < 0.5,
            traceable=shown and auc > 0.5,
            **figures,
        )


class Trace(ResultPart):
    """Whether a loss tells what is to be forgotten from what was never seen."""

    auc: float
    """Probability that what is to be forgotten has the lower loss; 0.5 is no trace."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    p_value: float
    """p-value of the two-sided rank test over units."""
    traceable: bool | None
    """Whether the loss is shown to be lower; null where so few units could not show it."""
    over_forgotten: bool | None
    """Whether the loss is shown to be higher."""
    units: int
    """Units to forget: subjects, or images."""
    unseen_units: int
    """Units that were never seen."""
    against: str
    """What was never seen; *relative to the reference*: the loss less that under a reference model."""

    @classmethod
    def of(cls, inference: Membership, against: str) -> "Trace":
        """Return what membership inference says about a trace."""
        return cls(
            auc=inference.auc,
            low=inference.low,
            high=inference.high,
            p_value=inference.p_value,
            traceable=inference.traceable if inference.decidable else None,
            over_forgotten=inference.over_unlearned if inference.decidable else None,
            units=inference.member_units,
            unseen_units=inference.other_units,
            against=against,
        )


def membership_inference(
    members: Float[Tensor, " members"],
    others: Float[Tensor, " others"],
    *,
    member_groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    rates: Sequence[float] = LOW_RATES,
) -> Membership:
    """Return the AUC of a score with its interval and test, and the true-positive rates at low false-positive rates.

    A group weighs as one, whatever its size. The interval is DeLong's on the logit scale with whole groups as units
    (DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Obuchowski, "Nonparametric analysis of clustered ROC curve
    data", Biometrics 1997) and Student's quantile for the smaller side; where the sides hardly overlap, so that little
    variance is left, Newcombe's score interval ("Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic", Statistics in Medicine 2006, method 5). Whether a difference is shown is decided by
    :func:`~myosotis.evaluation.rank_test.rank_test`.

    Args:
        members: Scores of members; low means known.
        others: Scores of non-members.
        member_groups: Group of each member; None if all are independent.
        other_groups: Group of each non-member.
        level: Level of confidence, in (0, 1).
        rates: False-positive rates.

    Raises:
        ValueError: A side is empty or holds NaN, or ``level`` is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    _check(members, others)
    sides = [
        (scores.double().cpu(), _group_indices(groups, len(scores)))
        for scores, groups in ((members, member_groups), (others, other_groups))
    ]
    placements = _group_means(_share_above(sides[0][0], sides[1][0], _weights(sides[1][1])), sides[0][1])
    auc = placements.mean().item()
    test = rank_test(members, others, member_groups, other_groups)
    low = high = None
    if min(test.units) >= _MIN_UNITS:
        other_placements = 1 - _share_above(sides[1][0], sides[0][0], _weights(sides[0][1]))
        variance = placements.var().item() / len(placements)
        of_groups = _group_means(other_placements, sides[1][1])
        variance += of_groups.var().item() / len(of_groups)
        low, high = _logit_interval(auc, variance, test.units, level)
    return Membership.of(
        auc,
        test,
        level,
        low=low,
        high=high,
        tpr_at_fpr={f"{rate:g}": tpr_at_fpr(members, others, rate) for rate in rates},
        members=len(members),
        others=len(others),
    )


def stratified_membership(
    members: Float[Tensor, " members"],
    others: Float[Tensor, " others"],
    strata: Sequence[Hashable],
    other_strata: Sequence[Hashable],
    *,
    level: float = 0.95,
    rates: Sequence[float] = LOW_RATES,
) -> Membership | None:
    """Return :func:`membership_inference` of members against non-members of the same stratum, e.g. of the same class.

    That a class is easy is then no sign of membership: the AUC is the mean over members of the share of non-members of
    their stratum that score higher. Non-members count as if their strata occurred as often as among the members. With a
    single stratum this is :func:`membership_inference`.

    Args:
        members: Scores of members, independent of each other; low means known.
        others: Scores of non-members.
        strata: Stratum of each member; strata that only one side has are left out.
        other_strata: Stratum of each non-member.
        level: Level of confidence, in (0, 1).
        rates: False-positive rates.

    Returns:
        None where no stratum has both.

    Raises:
        ValueError: A score is NaN, ``level`` is out of range, or there is not one stratum per score.
    """
    side = matched(members, others, strata, other_strata)
    if side is None:
        return None
    if len(set(side.strata)) == 1:
        return membership_inference(side.values, side.others, level=level, rates=rates)
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    _check(side.values, side.others)
    placements, other_placements = (torch.zeros(len(rows), dtype=torch.float64) for rows in (side.values, side.others))
    for name in dict.fromkeys(side.strata):
        own, other = (
            torch.tensor([index for index, each in enumerate(names) if each == name])
            for names in (side.strata, side.other_strata)
        )
        placements[own] = _share_above(side.values[own], side.others[other])
        other_placements[other] = 1 - _share_above(side.others[other], side.values[own])
    auc, count, other_count = placements.mean().item(), len(placements), len(other_placements)
    test = stratified_rank_test(side.values, side.others, side.strata, side.other_strata)
    low = high = None
    if min(test.units) >= _MIN_UNITS:
        deviations = side.weights.square() * (other_placements - auc).square()
        variance = placements.var().item() / count
        variance += other_count / (other_count - 1) * deviations.sum().item()
        low, high = _logit_interval(auc, variance, test.units, level)
    return Membership.of(
        auc,
        test,
        level,
        low=low,
        high=high,
        tpr_at_fpr={f"{rate:g}": _weighted_tpr(side, rate) for rate in rates},
        members=count,
        others=other_count,
    )


def _weighted_tpr(side: Matched, rate: float) -> float:
    """As :func:`tpr_at_fpr`, with a weight for each non-member."""
    order = side.others.argsort()
    flagged = side.weights[order].cumsum(0)
    first = int((flagged <= rate + 1e-9).sum())
    limit = side.others[order][first] if first < len(order) else math.inf
    return (side.values < limit).double().mean().item()


def _logit_interval(auc: float, variance: float, units: tuple[int, int], level: float) -> tuple[float, float]:
    if variance <= 0 or min(auc, 1 - auc) * min(units) < _FEW_REVERSED:
        return _score_auc_interval(auc, units, level)
    error = math.sqrt(variance) / (auc * (1 - auc))
    half = float(scipy.special.stdtrit(min(units) - 1, (1 + level) / 2)) * error
    logit = math.log(auc / (1 - auc))
    low, high = (1 / (1 + math.exp(-end)) for end in (logit - half, logit + half))
    return low, high


def _share_above(scores: Tensor, others: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return, for each score, the share of the others above it, with ties counting half.

    Args:
        scores: Scores.
        others: Other scores.
        weights: Weight of each of the others; they sum up to 1.
    """
    ordered, order = others.sort()
    shares = torch.full_like(ordered, 1 / len(ordered), dtype=torch.float64) if weights is None else weights[order]
    below = torch.cat([shares.new_zeros(1), shares.cumsum(0)])
    not_above, strictly_below = (below[torch.searchsorted(ordered, scores, right=side)] for side in (True, False))
    return 1 - (not_above + strictly_below) / 2


def _weights(groups: Tensor) -> Tensor:
    """The weight of each sample where each group weighs as one, in sum 1."""
    counts = groups.bincount()
    return 1 / (counts[groups].double() * len(counts))


def _group_means(values: Tensor, groups: Tensor) -> Tensor:
    counts = groups.bincount()
    return torch.zeros(len(counts), dtype=torch.float64).index_add_(0, groups, values) / counts


def _score_auc_interval(auc: float, units: tuple[int, int], level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    m, n = units
    half = (m + n) / 2 - 1

    def excess(theta: float) -> float:
        variance = theta * (1 - theta) * (1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)) / (m * n)
        return abs(auc - theta) - z * math.sqrt(variance)

    inside = 1e-9
    # Next to 0 and 1 an end may lie beyond what the formula can tell from them.
    low = 0.0 if excess(inside) <= 0 else float(scipy.optimize.brentq(excess, inside, auc - inside))
    high = 1.0 if excess(1 - inside) <= 0 else float(scipy.optimize.brentq(excess, auc + inside, 1 - inside))
    return low, high


def _check(members: Tensor, others: Tensor) -> None:
    if not len(members) or not len(others):
        raise ValueError(f"both sides need scores, got {len(members)} members and {len(others)} non-members")
    if members.isnan().any() or others.isnan().any():
        raise ValueError("a score is NaN")


def _group_indices(groups: Sequence[Hashable] | None, count: int) -> Tensor:
    """Return the group of every sample as a number; without groups, every sample is its own group."""
    names = list(range(count)) if groups is None else list(groups)
    if len(names) != count:
        raise ValueError(f"expected one group per value, got {len(names)} for {count}")
    order = {name: index for index, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])
