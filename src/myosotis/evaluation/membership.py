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
    return _wins(members, others).mean().item()


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
    wins = _wins(members, others)
    left = _membership_matrix(member_groups, len(members))
    right = _membership_matrix(other_groups, len(others))
    low = high = None
    if len(left) > 1 and len(right) > 1:
        # A resample weights groups; its AUC is a ratio of bilinear forms, so no resample is ever built.
        grouped, sizes = left @ wins @ right.T, left.sum(dim=1, keepdim=True) * right.sum(dim=1)
        stream = generator(seed, "membership")
        values = []
        for begin in range(0, resamples, _CHUNK):
            count = min(_CHUNK, resamples - begin)
            a, b = (_drawn(count, len(side), stream) for side in (left, right))
            values.append(((a @ grouped) * b).sum(dim=1) / ((a @ sizes) * b).sum(dim=1))
        tail = (1 - level) / 2
        low, high = torch.quantile(torch.cat(values), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Membership(
        auc=wins.mean().item(),
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


def _wins(members: Tensor, others: Tensor) -> Tensor:
    """1 where a member scores below a non-member, 0.5 where they are equal: (members, others)."""
    _check(members, others)
    a, b = members.double().unsqueeze(1), others.double().unsqueeze(0)
    return (a < b).double() + 0.5 * (a == b).double()


def _membership_matrix(groups: Sequence[Hashable] | None, count: int) -> Tensor:
    """(groups, samples): 1 where a sample belongs to a group."""
    names = list(range(count)) if groups is None else list(groups)
    if len(names) != count:
        raise ValueError(f"expected one group per score, got {len(names)} for {count}")
    order = {name: place for place, name in enumerate(dict.fromkeys(names))}
    matrix = torch.zeros(len(order), count, dtype=torch.float64)
    matrix[[order[name] for name in names], range(count)] = 1
    return matrix


def _drawn(count: int, groups: int, stream: torch.Generator) -> Tensor:
    """How often each group was drawn in each of ``count`` resamples."""
    draws = torch.randint(groups, (count, groups), generator=stream)
    return torch.zeros(count, groups, dtype=torch.float64).scatter_add_(1, draws, torch.ones(draws.shape).double())
