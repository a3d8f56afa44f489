"""Confidence intervals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.engine.seeding import generator


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: Of the values.
        low: Lower end.
        high: Upper end.
        count: Values behind it.
        units: Independent units behind it: groups, where values were grouped.
    """

    mean: float
    low: float
    high: float
    count: int
    units: int


def bootstrap_mean(
    values: Float[Tensor, " count"],
    groups: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean and its percentile bootstrap interval, resampling whole groups.

    Values of one group, e.g. several questions about one person, are not independent; resampling single values would
    make the interval too narrow (cluster bootstrap: Davison and Hinkley, 1997, section 3.8).

    Args:
        values: NaN marks a value that does not exist; it is left out.
        groups: The group of each value; None: every value is its own.
        level: Of confidence, in (0, 1).
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Raises:
        ValueError: Nothing is left, or ``level`` is out of range.

    Example:
        >>> bootstrap_mean(torch.tensor([1.0, 1.0, 1.0])).low
        1.0
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    kept = [place for place, value in enumerate(values.tolist()) if value == value]
    if not kept:
        raise ValueError("no value to average")
    names = [place if groups is None else groups[place] for place in kept]
    order = {name: index for index, name in enumerate(dict.fromkeys(names))}
    member = torch.tensor([order[name] for name in names])
    numbers = values[kept].double()
    sums = torch.zeros(len(order), dtype=torch.float64).index_add_(0, member, numbers)
    counts = torch.zeros(len(order), dtype=torch.float64).index_add_(0, member, torch.ones_like(numbers))
    draws = torch.randint(len(order), (resamples, len(order)), generator=generator(seed, "bootstrap"))
    means = sums[draws].sum(dim=1) / counts[draws].sum(dim=1)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(numbers.mean().item(), low, high, len(kept), len(order))
