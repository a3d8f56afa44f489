"""Membership inference: how well a score tells what a model was trained on from what it was not."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.engine.seeding import generator

LOW_RATES = (0.01, 0.1)
"""The false-positive rates at which the true-positive rate is told."""

_CHUNK = 200  # resamples drawn at once


def roc_auc(members: Float[Tensor, " members"], others: Float[Tensor, " others"]) -> float:
    """Return the probability that a member scores **lower** than a non-member, ties counting half.

    Scores are like losses: low means that the model knows the sample. 1 is full memorisation, 0.5 no trace, and below
    0.5 members look less like members than samples that were never seen: a sign of over-unlearning.

    Args:
        members: Scores of what was trained on, or is said to be forgotten.
        others: Scores of what was never trained on.

    Raises:
        ValueError: A side is empty or holds a value that is not a number.

    Example:
        >>> roc_auc(torch.tensor([0.1, 0.2]), torch.tensor([0.2, 0.3]))
        0.875
    """
    _check(members, others)
    weights = (torch.ones(1, len(side), dtype=torch.float64) for side in (members, others))
    return _weighted_auc(_ranks(members, others), *weights).item()


def tpr_at_fpr(members: Float[Tensor, " members"], others: Float[Tensor, " others"], rate: float) -> float:
    """Return the share of members found by the loosest threshold that flags at most ``rate`` of the non-members.

    Args:
        members: Scores of members; low is flagged.
        others: Scores of non-members. With fewer than 1/rate of them no false alarm at all is allowed.
        rate: In [0, 1).

    Raises:
        ValueError: A side is empty or holds a value that is not a number, or the rate is out of range.

    Example:
        >>> tpr_at_fpr(torch.tensor([0.1, 0.2, 0.9]), torch.tensor([0.3, 0.8]), rate=0.01)
        0.6666666865348816
    """
    if not 0 <= rate < 1:
        raise ValueError(f"the false-positive rate must be in [0, 1), got {rate}")
    _check(members, others)
    allowed = int(rate * len(others) + 1e-9)
    # Flagged is what lies strictly below the first non-member that must not be flagged.
    limit = others.sort().values[allowed]
    return (members < limit).float().mean().item()


@dataclass(frozen=True)
class Membership:
    """What a membership-inference score shows.

    Attributes:
        auc: See :func:`roc_auc`.
        low: Lower end of its interval; None where a side is a single unit.
        high: Upper end.
        tpr_at_fpr: True-positive rates at low false-positive rates, by the rate.
        members: How many members.
        others: How many non-members.
    """

    auc: float
    low: float | None
    high: float | None
    tpr_at_fpr: dict[str, float]
    members: int
    others: int

    @property
    def over_unlearned(self) -> bool:
        """Whether the whole interval lies below 0.5: members stand out by being *less* likely than unseen samples."""
        return self.high is not None and self.high < 0.5

    @property
    def traceable(self) -> bool:
        """Whether the whole interval lies above 0.5."""
        return self.low is not None and self.low > 0.5


def membership_inference(
    members: Float[Tensor, " members"],
    others: Float[Tensor, " others"],
    *,
    member_groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    rates: Sequence[float] = LOW_RATES,
) -> Membership:
    """Return the AUC of a score with its bootstrap interval, and the true-positive rates at low false-positive rates.

    Members and non-members are resampled apart, whole groups at a time: samples of one group are not independent.

    Args:
        members: Scores of members; low means known.
        others: Scores of non-members.
        member_groups: The group of each member; None: each is its own.
        other_groups: The group of each non-member.
        level: Of confidence, in (0, 1).
        resamples: Bootstrap samples.
        seed: Of the resampling.
        rates: False-positive rates.

    Raises:
        ValueError: A side is empty or holds a value that is not a number, or ``level`` is out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    _check(members, others)
    left, right = (
        _places_of_groups(groups, len(side)) for groups, side in ((member_groups, members), (other_groups, others))
    )
    counts = int(left.max()) + 1, int(right.max()) + 1
    low = high = None
    if min(counts) > 1:
        # A resample weights groups and thereby their samples, so none is ever built.
        ranks = _ranks(members, others)
        stream = generator(seed, "membership")
        values = []
        for begin in range(0, resamples, _CHUNK):
            drawn = (_drawn(min(_CHUNK, resamples - begin), count, stream) for count in counts)
            weights = [times[:, places] for times, places in zip(drawn, (left, right), strict=True)]
            values.append(_weighted_auc(ranks, weights[0], weights[1]))
        tail = (1 - level) / 2
        low, high = torch.quantile(torch.cat(values), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Membership(
        auc=roc_auc(members, others),
        low=low,
        high=high,
        tpr_at_fpr={f"{rate:g}": tpr_at_fpr(members, others, rate) for rate in rates},
        members=len(members),
        others=len(others),
    )


def _check(members: Tensor, others: Tensor) -> None:
    if not len(members) or not len(others):
        raise ValueError(f"both sides need a score, got {len(members)} members and {len(others)} non-members")
    if members.isnan().any() or others.isnan().any():
        raise ValueError("a score is not a number")


def _ranks(members: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The place of every score among all different scores, for members and for others."""
    _, places = torch.unique(torch.cat([members.double(), others.double()]).cpu(), return_inverse=True)
    return places[: len(members)], places[len(members) :]


def _weighted_auc(ranks: tuple[Tensor, Tensor], members: Tensor, others: Tensor) -> Tensor:
    """AUC for each row of weights: the share, by weight, of pairs in which the member is lower; ties count half."""
    width = int(max(part.max() for part in ranks)) + 1
    a, b = (
        torch.zeros(len(weights), width, dtype=torch.float64).index_add_(1, places, weights)
        for places, weights in zip(ranks, (members, others), strict=True)
    )
    above = b.sum(dim=1, keepdim=True) - b.cumsum(dim=1)
    return (a * (above + b / 2)).sum(dim=1) / (a.sum(dim=1) * b.sum(dim=1))


def _places_of_groups(groups: Sequence[Hashable] | None, count: int) -> Tensor:
    """The group of every sample as a number; every sample its own where there are no groups."""
    names = list(range(count)) if groups is None else list(groups)
    if len(names) != count:
        raise ValueError(f"expected one group per score, got {len(names)} for {count}")
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([order[name] for name in names])


def _drawn(count: int, groups: int, stream: torch.Generator) -> Tensor:
    """How often each group was drawn in each of ``count`` resamples."""
    draws = torch.randint(groups, (count, groups), generator=stream)
    return torch.zeros(count, groups, dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape).double())
