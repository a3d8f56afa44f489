"""Counting in tables and by sorting agree."""

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.counting import dude


def test_large_contexts_agree_with_small_tables(markov, monkeypatch):
    noisy = Channel.symmetric(4, 0.1).corrupt(markov(3000, symbols=4), np.random.default_rng(1))
    by_table = dude(noisy, Channel.symmetric(4, 0.1), k=3)
    monkeypatch.setattr("myosotis.denoising.counting.LARGEST_TABLE", 1)
    by_sorting = dude(noisy, Channel.symmetric(4, 0.1), k=3)
    assert by_table.symbols.tolist() == by_sorting.symbols.tolist()
    assert by_table.estimated_loss == pytest.approx(by_sorting.estimated_loss)
    assert (by_table.contexts, by_table.covered) == (by_sorting.contexts, by_sorting.covered)


@pytest.mark.parametrize("pad", ["outside", "symbol0"])
@pytest.mark.parametrize("kind", [{}, {"leave_one_out": True}, {"unbiased": True}])
@pytest.mark.parametrize(("shape", "alphabet", "neighbours"), [((60, 45), 2, 12), ((40, 70), 3, 5), ((2, 3), 2, 8)])
def test_tables_of_planes_agree_with_sorting(monkeypatch, shape, alphabet, neighbours, kind, pad):
    draws = np.random.default_rng(0)
    clean = np.add.outer(np.arange(shape[0]) // 5, np.arange(shape[1]) // 7) % alphabet
    channel = Channel.symmetric(alphabet, 0.1)
    noisy = channel.corrupt(clean, draws)
    by_table = dude(noisy.T, channel, neighbours=neighbours, pad=pad, **kind)
    monkeypatch.setattr("myosotis.denoising.counting.LARGEST_TABLE", 1)
    by_sorting = dude(noisy.T, channel, neighbours=neighbours, pad=pad, **kind)
    assert by_table.symbols.tolist() == by_sorting.symbols.tolist()
    assert by_table.estimated_loss == pytest.approx(by_sorting.estimated_loss)
    assert (by_table.contexts, by_table.covered) == (by_sorting.contexts, by_sorting.covered)
    assert by_table.changed > 0 or noisy.size < 10


def test_contexts_of_more_than_62_bits(slowly):
    draws = np.random.default_rng(0)
    base = np.tile(draws.integers(0, 2, 150), 40)
    noisy = Channel.binary_symmetric(0.01).corrupt(base, draws)
    found = dude(noisy, Channel.binary_symmetric(0.01), k=40, leave_one_out=True)
    assert found.covered == len(base) - 80
    offsets = [(step,) for step in range(-40, 41) if step]
    slow = slowly(noisy[:1200], Channel.binary_symmetric(0.01), offsets, leave_one_out=True)
    again = dude(noisy[:1200], Channel.binary_symmetric(0.01), k=40, leave_one_out=True)
    assert again.symbols.tolist() == slow.tolist()
    plane = np.tile(draws.integers(0, 2, (12, 12)), (20, 20))
    seen = plane.copy()
    seen[100, 100] ^= 1
    again = dude(seen, Channel.binary_symmetric(0.01), neighbours=80, leave_one_out=True)
    assert again.symbols[100, 100] == plane[100, 100]
