"""Symbols, noise and small networks."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.mappings import hamming
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


@pytest.fixture(scope="session")
def slowly():
    """A slow version of DUDE that knows nothing of keys."""

    def slowly(noisy, channel, offsets, *, loss=None, leave_one_out=False, outside=None, whole=True):
        """Denoise position by position, with the context of each as a tuple."""
        loss = hamming(channel.inputs) if loss is None else loss
        inverse = np.linalg.pinv(channel.matrix)
        shape = noisy.shape
        contexts = {}
        for place in np.ndindex(shape):
            around = []
            for step in offsets:
                at = tuple(np.add(place, step))
                inside = all(0 <= one < side for one, side in zip(at, shape, strict=True))
                around.append(int(noisy[at]) if inside else outside)
            if None not in around or not whole:
                contexts[place] = tuple(around)
        counts = defaultdict(Counter)
        for place, context in contexts.items():
            counts[context][int(noisy[place])] += 1
        found = noisy.copy()
        for place, context in contexts.items():
            z = int(noisy[place])
            m = np.array([counts[context][a] for a in range(channel.outputs)], dtype=float)
            m[z] -= leave_one_out
            scores = [m @ inverse @ (loss[:, h] * channel.matrix[:, z]) for h in range(loss.shape[1])]
            good = np.array(scores) <= min(scores) + 1e-9 * (1 + m.sum())
            if not good[z]:
                found[place] = int(np.argmax(good))
        return found

    return slowly
