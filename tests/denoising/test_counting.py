"""DUDE by hand, against a slow version that knows nothing of keys, and against what is known of it."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, strategies as st

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d, Context2d
from myosotis.denoising.counting import dude, dude_in_context
from myosotis.denoising.mappings import hamming


def bits(text):
    return np.array([int(bit) for bit in text])


def test_single_flips_go_and_edges_stay():
    channel = Channel.binary_symmetric(0.1)
    noisy = bits("0000100000011111011111100000")
    found = dude(noisy, channel, k=1)
    assert found.symbols.tolist() == bits("0000000000011111111111100000").tolist()
    assert (found.changed, found.contexts, found.covered) == (2, 4, 26)
    # The two symbols at the ends are kept, at an estimated loss of 0.1 each.
    assert (28 * found.estimated_loss - 2 * 0.1) / 26 == pytest.approx(0.040385, abs=1e-6)


def test_a_rare_symbol_stays_where_the_channel_flips_rarely():
    noisy = bits("0000100000011111011111100000")
    found = dude(noisy, Channel.binary_symmetric(0.05), k=1)
    assert found.changed == 0
    assert found.estimated_loss == pytest.approx(0.05)


def test_an_alternating_string():
    noisy = bits("0101010101110101010101010")
    found = dude(noisy, Channel.binary_symmetric(0.1), k=1)
    assert found.symbols.tolist() == bits("0101010101010101010101010").tolist()
    assert (25 * found.estimated_loss - 2 * 0.1) / 23 == pytest.approx(-0.070652, abs=1e-6)


def test_a_plane_by_hand():
    clean = np.zeros((8, 8), dtype=int)
    clean[:, 4:] = 1
    noisy = clean.copy()
    noisy[2, 1] ^= 1
    noisy[5, 6] ^= 1
    found = dude(noisy, Channel.binary_symmetric(0.1), neighbours=4, pad="symbol0")
    assert found.symbols.tolist() == clean.tolist()
    assert found.contexts == 15
    assert found.estimated_loss == pytest.approx(-0.0859375)


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 2), st.booleans())
def test_a_line_against_the_slow_version(slowly, seed, alphabet, k, leave_one_out):
    draws = np.random.default_rng(seed)
    table = draws.random((alphabet, alphabet)) + 3 * np.eye(alphabet)
    channel = Channel(table / table.sum(axis=1, keepdims=True))
    noisy = draws.integers(0, alphabet, 60)
    noisy[::3] = 0
    loss = draws.random((alphabet, alphabet)) * (1 - np.eye(alphabet))
    found = dude(noisy, channel, k=k, loss=loss, leave_one_out=leave_one_out)
    offsets = [(step,) for step in range(-k, k + 1) if step]
    wanted = slowly(noisy, channel, offsets, loss=loss, leave_one_out=leave_one_out)
    assert found.symbols.tolist() == wanted.tolist()


@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from(["outside", "symbol0"]), st.booleans())
def test_a_plane_against_the_slow_version(slowly, seed, neighbours, pad, leave_one_out):
    draws = np.random.default_rng(seed)
    noisy = (draws.random((9, 7)) < 0.3).astype(int)
    channel = Channel([[0.9, 0.1], [0.15, 0.85]])
    found = dude(noisy, channel, neighbours=neighbours, pad=pad, leave_one_out=leave_one_out)
    offsets = [tuple(step) for step in Context2d(neighbours).offsets]
    outside = 2 if pad == "outside" else 0
    wanted = slowly(noisy, channel, offsets, leave_one_out=leave_one_out, outside=outside)
    assert found.symbols.tolist() == wanted.tolist()


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_contexts_do_not_cross_from_one_read_into_another(seed, k):
    draws = np.random.default_rng(seed)
    channel = Channel.symmetric(4, 0.2)
    reads = [draws.integers(0, 4, draws.integers(1, 12)) % (1 + draws.integers(4)) for _ in range(12)]
    reads.append(draws.integers(0, 4, 20))
    together = dude(np.concatenate(reads), channel, k=k, lengths=[len(read) for read in reads])
    counts = defaultdict(Counter)
    for read in reads:
        for i in range(k, len(read) - k):
            counts[tuple(np.delete(read[i - k : i + k + 1], k))][int(read[i])] += 1
    inverse, loss, wanted = np.linalg.pinv(channel.matrix), hamming(4), []
    for read in reads:
        denoised = read.copy()
        for i in range(k, len(read) - k):
            m = np.array([counts[tuple(np.delete(read[i - k : i + k + 1], k))][a] for a in range(4)], dtype=float)
            scores = [m @ inverse @ (loss[:, h] * channel.matrix[:, read[i]]) for h in range(4)]
            good = np.array(scores) <= min(scores) + 1e-9 * (1 + m.sum())
            if not good[read[i]]:
                denoised[i] = int(np.argmax(good))
        wanted.append(denoised)
    assert together.symbols.tolist() == np.concatenate(wanted).tolist()


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_the_rule_for_bits_is_two_thresholds(markov, rate):
    noisy = Channel.binary_symmetric(rate).corrupt(markov(5000), np.random.default_rng(1))
    found = dude(noisy, Channel.binary_symmetric(rate), k=2).symbols
    counts = defaultdict(Counter)
    for i in range(2, len(noisy) - 2):
        counts[tuple(np.delete(noisy[i - 2 : i + 3], 2))][int(noisy[i])] += 1
    for i in range(2, len(noisy) - 2):
        m = counts[tuple(np.delete(noisy[i - 2 : i + 3], 2))]
        ratio = m[1] / (m[0] + m[1])
        low, high = 2 * rate * (1 - rate), rate**2 + (1 - rate) ** 2
        assert found[i] == (0 if ratio < low else 1 if ratio >= high else noisy[i])


def test_leaving_a_symbol_out_changes_what_is_rare():
    # 30 copies of one sequence, each with a flip of its own.
    draws = np.random.default_rng(0)
    clean = draws.integers(0, 4, 200)
    reads = np.tile(clean, (30, 1))
    for row in reads:
        row[draws.integers(20, 180)] += 1
    reads %= 4
    channel = Channel.symmetric(4, 0.01)
    plain = dude(reads.ravel(), channel, k=6, lengths=[200] * 30)
    left_out = dude(reads.ravel(), channel, k=6, lengths=[200] * 30, leave_one_out=True)
    errors = [(found.symbols.reshape(30, 200) != clean).sum() for found in (plain, left_out)]
    assert errors[0] == 30
    assert errors[1] < 5


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_the_unbiased_estimate_is_the_expected_loss(leave_one_out):
    """Over all noise patterns of three reads of three bits, whose contexts do not overlap."""
    clean, law, lengths = bits("001011001"), Channel([[0.8, 0.2], [0.3, 0.7]]), [3] * 3
    said = paid = plain = 0.0
    for pattern in itertools.product([0, 1], repeat=9):
        noisy = np.array(pattern)
        weight = law.matrix[clean, noisy].prod()
        found = dude(noisy, law, k=1, leave_one_out=leave_one_out, unbiased=True, lengths=lengths)
        said += weight * found.estimated_loss
        paid += weight * (found.symbols != clean).mean()
        plain += weight * dude(noisy, law, k=1, lengths=lengths).estimated_loss
    assert said == pytest.approx(paid, abs=1e-12)
    assert plain < paid - 0.01


def test_the_unbiased_estimate_tells_that_nothing_was_repaired():
    clean = np.random.default_rng(0).integers(0, 4, 200)
    law = Channel.symmetric(4, 0.02)
    reads = law.corrupt(np.tile(clean, 30), np.random.default_rng(1))
    found = dude(reads, law, k=6, lengths=[200] * 30, unbiased=True)
    assert found.changed == 0
    assert found.estimated_loss == pytest.approx(0.02, abs=0.004)


def test_an_iid_source_is_left_alone():
    draws = np.random.default_rng(0)
    noisy = draws.integers(0, 2, 100_000)
    for k in (1, 2, 3):
        assert dude(noisy, Channel.binary_symmetric(0.1), k=k).changed == 0


def test_symbols_and_channel_may_be_renamed_together(markov):
    draws = np.random.default_rng(0)
    table = draws.random((4, 4)) * 0.1 + np.eye(4)
    channel = Channel(table / table.sum(axis=1, keepdims=True))
    noisy = channel.corrupt(markov(20_000, flip=0.15, symbols=4), draws)
    order = np.array([2, 0, 3, 1])
    back = np.argsort(order)
    renamed = Channel(channel.matrix[back][:, back])
    plain, other = dude(noisy, channel, k=2).symbols, dude(order[noisy], renamed, k=2).symbols
    assert (order[plain] == other).all()
    assert (plain != noisy).any()


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.int64, bool])
def test_types_do_not_matter(kind):
    plane = (np.random.default_rng(0).random((30, 30)) < 0.3).astype(kind)
    line = np.repeat(plane[0], 20)
    line[7::31] ^= True
    law = Channel.binary_symmetric(0.1)
    for noisy, context in ((plane, {"neighbours": 8}), (line, {"k": 2}), (line, {"k": 2, "lengths": [300, 300]})):
        found = dude(noisy, law, **context)
        assert found.symbols.dtype == kind
        assert found.changed > 0
        assert (found.symbols == dude(noisy.astype(np.int16), law, **context).symbols).all()


def test_types_and_shapes_stay():
    noisy = np.zeros((5, 6), dtype=np.uint8)
    found = dude(noisy, Channel.binary_symmetric(0.1), neighbours=4)
    assert (found.symbols.dtype, found.symbols.shape) == (np.uint8, (5, 6))
    assert not np.shares_memory(found.symbols, noisy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": None}, "have a context of 'k'"),
        ({"k": 1, "neighbours": 4}, "have a context of 'k'"),
        ({"k": 0}, "half-width of at least 1"),
        ({"k": 10}, "a context of 10 on each side needs 21"),
        ({"k": 1, "lengths": [5, 6]}, "add up to 12 symbols, they add up to 11"),
        ({"k": 1, "lengths": [12, 0]}, "must be positive"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        dude(np.zeros(12, dtype=int), Channel.binary_symmetric(0.1), **arguments)


def test_other_faults():
    with pytest.raises(ValueError, match="symbol 2 at position 3"):
        dude(np.array([0, 1, 0, 2, 1]), Channel.binary_symmetric(0.1), k=1)
    with pytest.raises(ValueError, match="have a context of 'neighbours'"):
        dude(np.zeros((4, 4), dtype=int), Channel.binary_symmetric(0.1), k=1)
    for shape, context in (((4, 4), {"neighbours": 1}), ((16,), {"k": 1})):
        with pytest.raises(ValueError, match="at most 126 symbols, got 200"):
            dude(np.zeros(shape, dtype=int), Channel.symmetric(200, 0.1), **context)
    with pytest.raises(ValueError, match="'lengths' needs symbols along a line"):
        dude(np.zeros((4, 4), dtype=int), Channel.binary_symmetric(0.1), neighbours=4, lengths=[8, 8])
    with pytest.raises(ValueError, match="the context has 1 dimensions, the symbols have 2"):
        dude_in_context(np.zeros((4, 4), dtype=int), Channel.binary_symmetric(0.1), Context1d(1))
    with pytest.raises(ValueError, match="one or two dimensions, got 3"):
        dude(np.zeros((2, 2, 2), dtype=int), Channel.binary_symmetric(0.1), k=1)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_many_symbols_of_which_contexts_have_few(leave_one_out, slowly):
    """Symbols that do not occur in a context are not judged there, which changes no symbol and no estimate."""
    channel = Channel.symmetric(12, 0.1)
    noisy = channel.corrupt(np.repeat(np.random.default_rng(0).integers(0, 12, 60), 5), np.random.default_rng(1))
    found = dude(noisy, channel, k=1, unbiased=not leave_one_out, leave_one_out=leave_one_out)
    assert found.symbols.tolist() == slowly(noisy, channel, [(-1,), (1,)], leave_one_out=leave_one_out).tolist()
    loss, inverse = hamming(12), np.linalg.inv(channel.matrix)
    scores = np.einsum("ax,xh,xz->azh", inverse, loss, channel.matrix)  # of what is seen a, for z to become h
    counts = defaultdict(lambda: np.zeros(12))
    for before, z, after in zip(noisy, noisy[1:], noisy[2:], strict=False):
        counts[before, after][z] += 1
    total = sum(scores[z, np.arange(12), np.arange(12)].sum() for z in (noisy[0], noisy[-1]))
    for before, z, after in zip(noisy, noisy[1:], noisy[2:], strict=False):
        for w in range(12):
            m = counts[before, after].copy()
            m[z] -= 1
            if not leave_one_out:
                m[w] += 1
            values = np.einsum("a,ah->h", m, scores[:, w])
            good = values <= values.min() + 1e-9 * (1 + counts[before, after].sum())
            rule = w if good[w] else int(good.argmax())
            total += scores[z, w, rule]
    assert found.estimated_loss == pytest.approx(total / len(noisy), abs=1e-12)


@pytest.mark.parametrize("options", [{}, {"unbiased": True}, {"leave_one_out": True}])
@pytest.mark.parametrize("lengths", [None, [1, 2, 3, 54]])
def test_more_noisy_symbols_than_clean_ones(lengths, options, monkeypatch):
    """Erased symbols at the ends stayed erased, and the estimate left them out (it was 0 with 5 % of errors)."""
    channel = Channel([[0.8, 0, 0.2], [0, 0.8, 0.2]])
    clean = np.repeat([0, 1, 0, 1, 1, 0], 10)
    estimates, errors = [], []
    for seed in range(40):
        noisy = channel.corrupt(clean, np.random.default_rng(seed))
        found = dude(noisy, channel, k=1, lengths=lengths, **options)
        assert set(found.symbols.tolist()) == {0, 1}
        assert found.covered == (58 if lengths is None else 1 + 52)
        # What is not covered and not erased is as it was seen: the channel changes none into the other.
        ends = [0, 59] if lengths is None else [0, 1, 2, 3, 5, 6, 59]
        assert all(found.symbols[at] == noisy[at] for at in ends if noisy[at] < 2)
        estimates.append(found.estimated_loss)
        errors.append((found.symbols != clean).mean())
        with monkeypatch.context() as patch:
            patch.setattr("myosotis.denoising.counting.LARGEST_TABLE", 0)
            assert dude(noisy, channel, k=1, lengths=lengths, **options).symbols.tolist() == found.symbols.tolist()
    if options:
        assert np.mean(estimates) == pytest.approx(np.mean(errors), abs=0.015)
