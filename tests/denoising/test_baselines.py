"""The best that is possible, and that nothing here is better."""

import itertools

import numpy as np
import pytest

from myosotis.denoising.baselines import forward_backward, median
from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.counting import dude
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes


def chain(count, flip, symbols, seed=7):
    draws = np.random.default_rng(seed)
    steps = np.where(draws.random(count) < flip, draws.integers(1, symbols, count), 0)
    transition = np.full((symbols, symbols), flip / (symbols - 1))
    np.fill_diagonal(transition, 1 - flip)
    return np.cumsum(steps) % symbols, transition, draws


def test_the_posterior_of_a_short_chain_by_enumeration():
    transition = np.array([[0.8, 0.2], [0.4, 0.6]])
    law, noisy = Channel([[0.9, 0.1], [0.3, 0.7]]), np.array([0, 1, 1, 0, 1])
    initial = np.array([0.7, 0.3])
    belief = np.zeros((5, 2))
    for code in range(32):
        x = [(code >> place) & 1 for place in range(5)]
        p = initial[x[0]] * np.prod([transition[a, b] for a, b in itertools.pairwise(x)])
        p *= np.prod(law.matrix[x, noisy])
        for place in range(5):
            belief[place, x[place]] += p
    assert forward_backward(noisy, law, transition, initial).tolist() == belief.argmax(axis=1).tolist()
    costly = np.array([[0.0, 1.0], [9.0, 0.0]])
    wanted = [int(np.argmin(row @ costly)) for row in belief]
    assert forward_backward(noisy, law, transition, initial, loss=costly).tolist() == wanted


@pytest.mark.parametrize(
    ("flip", "rate", "symbols", "limit"),
    [(0.1, 0.1, 2, 0.556), (0.05, 0.1, 2, 0.297), (0.1, 0.2, 2, 0.592), (0.1, 0.1, 4, 0.348)],
)
def test_no_denoiser_beats_the_limit(flip, rate, symbols, limit):
    clean, transition, draws = chain(60_000, flip, symbols)
    law = Channel.symmetric(symbols, rate)
    noisy = law.corrupt(clean, draws)
    raw = (noisy != clean).mean()
    best = (forward_backward(noisy, law, transition) != clean).mean() / raw
    assert best == pytest.approx(limit, abs=0.02)
    counted = [(dude(noisy, law, k=k).symbols != clean).mean() / raw for k in range(1, 7 if symbols == 2 else 5)]
    # Three deviations of a share of 60,000.
    slack = 3 * np.sqrt(best * raw / len(clean)) / raw
    assert min(counted) > best - slack
    assert min(counted) < best + 0.06


def test_a_network_does_not_beat_the_limit_either():
    clean, transition, draws = chain(20_000, 0.05, 2)
    law = Channel.binary_symmetric(0.1)
    noisy = law.corrupt(clean, draws)
    raw = (noisy != clean).mean()
    best = (forward_backward(noisy, law, transition) != clean).mean() / raw
    denoiser = NeuralDenoiser(2, Context1d(5), hidden=32, layers=2).adapt(
        noisy, law, passes=Passes(epochs=8, learning_rate=5e-3, batch_size=256)
    )
    found = (denoiser.denoise(noisy, law) != clean).mean() / raw
    assert best - 0.03 < found < best + 0.15


def test_a_median_by_hand():
    plane = np.zeros((5, 5), dtype=np.uint8)
    plane[2, 2] = 1
    assert median(plane).sum() == 0
    assert median(np.array([0, 0, 1, 0, 1, 1, 1])).tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_a_transition_must_fit():
    with pytest.raises(ValueError, match="needs 2 rows that sum to one"):
        forward_backward(np.array([0, 1]), Channel.binary_symmetric(0.1), np.eye(3))
