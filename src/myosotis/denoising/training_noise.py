"""The noise of training: one channel, or one drawn for every sequence and pass."""

from collections.abc import Callable

import numpy as np

from myosotis.denoising.channel import Channel

TrainingNoise = Channel | Callable[[np.random.Generator], Channel]
"""A channel, or a function that draws one for every sequence and pass."""


def blind(low: float, high: float, symbols: int = 2) -> Callable[[np.random.Generator], Channel]:
    """Return a function that draws symmetric channels with a rate uniform between two.

    Example:
        >>> bool(0.05 <= blind(0.05, 0.25)(np.random.default_rng(0)).matrix[0, 1] <= 0.25)
        True
    """
    Channel.symmetric(symbols, low)
    Channel.symmetric(symbols, high)
    return lambda draws: Channel.symmetric(symbols, float(draws.uniform(low, high)))
