"""Confidence intervals."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from scipy.stats import beta
from scipy.stats import t as student_t
from torch import Tensor

from myosotis.engine.seeding import generator

_CHUNK = 100  # resamples drawn at once


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: Of the values.
        low: Lower end; None where a single unit leaves nothing to estimate it from.
        high: Upper end, or None.
        count: Values behind it.
        units: Independent units behind it: groups, where values were grouped.
    """

    mean: float
    low: float | None
    high: float | None
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
    make the interval too narrow (cluster bootstrap: Davison and Hinkley, 1997, section 3.8). Where all resamples agree,
    as for 0 of 4, the bootstrap would claim certainty; for values in [0, 1] Wilson's interval (1927) on the units
    stands in, which is wide for few of them.

    Args:
        values: NaN marks a value that does not exist; it is left out.
        groups: The group of each value; None: every value is its own.
        level: Of confidence, in (0, 1).
        resamples: Bootstrap samples.
        seed: Of the resampling.

    Raises:
        ValueError: Nothing is left, or ``level`` is out of range.

    Example:
        >>> interval = bootstrap_mean(torch.tensor([0.0, 0.0, 0.0, 0.0]))
        >>> interval.low, round(interval.high, 2)
        (0.0, 0.49)
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
    mean = numbers.mean().item()
    if len(order) == 1:
        return Interval(mean, None, None, len(kept), 1)
    stream = generator(seed, "bootstrap")
    means = []
    for begin in range(0, resamples, _CHUNK):
        draws = torch.randint(len(order), (min(_CHUNK, resamples - begin), len(order)), generator=stream)
        means.append(sums[draws].sum(dim=1) / counts[draws].sum(dim=1))
    tail = (1 - level) / 2
    low, high = torch.quantile(torch.cat(means), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    if high - low < 1e-12 and bool(((numbers >= 0) & (numbers <= 1)).all()):
        low, high = _wilson(mean, len(order), level)
    return Interval(mean, low, high, len(kept), len(order))


def _wilson(share: float, count: int, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, centre - half), min(1.0, centre + half)


def clopper_pearson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided interval of a share (Clopper and Pearson, 1934).

    Args:
        hits: How many of ``trials`` it was.
        trials: At least 1.
        level: Of confidence, in (0, 1).

    Raises:
        ValueError: A number is out of range.

    Example:
        >>> low, high = clopper_pearson(0, 16)
        >>> low, round(high, 4)
        (0.0, 0.2059)
    """
    if not 0 <= hits <= trials or trials < 1:
        raise ValueError(f"hits must be in 0 to trials, got {hits} of {trials}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(beta.ppf(tail, hits, trials - hits + 1))
    high = 1.0 if hits == trials else float(beta.ppf(1 - tail, hits + 1, trials - hits))
    return low, high


def t_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of runs with its interval by Student's t; without ends for a single run.

    Args:
        values: One figure of each run.
        level: Of confidence, in (0, 1).

    Raises:
        ValueError: There is no value, or ``level`` is out of range.

    Example:
        >>> interval = t_interval([1.0, 2.0, 3.0])
        >>> interval.mean, round(interval.low, 3), round(interval.high, 3)
        (2.0, -0.484, 4.484)
    """
    if not values:
        raise ValueError("no value to average")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
    mean, count = sum(values) / len(values), len(values)
    if count == 1:
        return Interval(mean, None, None, 1, 1)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(student_t.ppf((1 + level) / 2, count - 1)) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, count, count)
