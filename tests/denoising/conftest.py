"""Symbols, noise and small networks."""

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.neural import NeuralDenoiser

LAW = Channel.binary_symmetric(0.1)


def _markov(count, seed=0, flip=0.1, symbols=2):
    draws = np.random.default_rng(seed)
    steps = np.where(draws.random(count) < flip, draws.integers(1, symbols, count), 0)
    return np.cumsum(steps) % symbols


def _noisy(clean, law=LAW, seed=1):
    return law.corrupt(clean, np.random.default_rng(seed))


def _small(context=None, symbols=2, **options):
    return NeuralDenoiser(symbols, context or Context1d(3), **{"hidden": 16, "layers": 2, **options})


def _blobs(seed, side=48):
    """A plane with some squares of ones."""
    draws = np.random.default_rng(seed)
    plane = np.zeros((side, side), dtype=np.uint8)
    for _ in range(6):
        top, left = draws.integers(0, side - 12, 2)
        plane[top : top + draws.integers(6, 12), left : left + draws.integers(6, 12)] = 1
    return plane


@pytest.fixture(scope="session")
def markov():
    return _markov


@pytest.fixture(scope="session")
def noisy():
    return _noisy


@pytest.fixture(scope="session")
def small():
    return _small


@pytest.fixture(scope="session")
def blobs():
    return _blobs
