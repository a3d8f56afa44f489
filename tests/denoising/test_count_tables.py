"""Counting in tables and by sorting agree."""

import tracemalloc

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.counting import dude
from myosotis.denoising.mappings import head_estimate


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


@pytest.mark.parametrize("kind", [{}, {"leave_one_out": True}, {"unbiased": True}])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_blocks_of_sequences(kind, k, monkeypatch):
    """Complete contexts of many sequences, block by block, are those of each sequence by itself."""
    draws = np.random.default_rng(k)
    lengths = draws.integers(1, 12, 60).tolist()
    noisy = draws.integers(0, 3, sum(lengths)).astype(np.uint8) * (draws.random(sum(lengths)) < 0.4)
    whole = dude(noisy, Channel.symmetric(3, 0.2), k=k, lengths=lengths, **kind)
    offsets = [(step,) for step in range(-k, k + 1) if step]
    complete = [
        np.arange(k, length - k) + end - length for length, end in zip(lengths, np.cumsum(lengths), strict=True)
    ]
    indices = np.concatenate([some for some in complete if len(some)])
    assert whole.covered == len(indices)
    monkeypatch.setattr("myosotis.denoising.count_tables._BLOCK", 7)
    cut = dude(noisy, Channel.symmetric(3, 0.2), k=k, lengths=lengths, **kind)
    assert (cut.symbols == whole.symbols).all()
    assert cut.estimated_loss == pytest.approx(whole.estimated_loss, abs=1e-12)
    reference = noisy.copy()
    counts = {}
    for i in indices:
        counts.setdefault(tuple(noisy[i + step] for (step,) in offsets), np.zeros(3))[noisy[i]] += 1
    parts = head_estimate(Channel.symmetric(3, 0.2))
    for i in indices:
        m = counts[tuple(noisy[i + step] for (step,) in offsets)].copy()
        m[noisy[i]] -= "leave_one_out" in kind
        scores = m @ parts[:, noisy[i]]
        good = scores <= scores.min() + 1e-9 * (1 + m.sum())
        reference[i] = noisy[i] if good[noisy[i]] else int(good.argmax())
    assert (whole.symbols == reference).all()


@pytest.mark.parametrize("lengths", [None, [100] * 20_000])
@pytest.mark.parametrize("kind", [{}, {"leave_one_out": True}])
def test_memory_of_a_table(kind, lengths):
    """Masks of the complete contexts took two bytes for each symbol, beside the byte of the result."""
    noisy = np.zeros(2_000_000, dtype=np.uint8)
    noisy[::3] = 1
    tracemalloc.start()
    dude(noisy, Channel.symmetric(4, 0.1), k=2, lengths=lengths, **kind)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A block of numbers of eight bytes is 0.3 of it here.
    assert peak < 2 * noisy.size
