"""The rules of contexts against the definition, symbol by symbol."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from myosotis.denoising.channel import Channel
from myosotis.denoising.counted_rules import LossSum, best_rules, rules_of_pairs
from myosotis.denoising.mappings import head_estimate


def literal(table, parts, kind):
    """Decisions of what occurs, and the loss: every symbol judged by a mapping that is made for it alone."""
    every, total, decisions = range(table.shape[1]), 0.0, {}
    for c, m in enumerate(table):
        for a in np.flatnonzero(m):
            mapping = []
            for w in every:
                counts = m.astype(float)
                if kind != "plain":
                    counts[a] -= 1
                if kind == "unbiased":
                    counts[w] += 1
                scores = [sum(counts[b] * parts[b, w, h] for b in every) for h in range(parts.shape[2])]
                good = np.array(scores) <= min(scores) + 1e-9 * (1 + m.sum())
                mapping.append(w if w < len(good) == len(m) and good[w] else int(good.argmax()))
            decisions[c, int(a)] = mapping[a]
            total += m[a] * sum(parts[a, w, mapping[w]] for w in every)
    return decisions, total


@pytest.mark.parametrize("kind", ["plain", "unbiased", "left_out"])
@given(st.integers(0, 10_000), st.integers(2, 10), st.booleans(), st.booleans())
@settings(max_examples=40)
def test_rules_against_the_definition(kind, seed, alphabet, square, hamming):
    draws = np.random.default_rng(seed)
    clean = alphabet if square or alphabet == 2 else alphabet - 1
    matrix = draws.random((clean, alphabet)) + 3 * np.eye(clean, alphabet)
    channel = Channel(matrix / matrix.sum(axis=1, keepdims=True))
    parts = head_estimate(channel, None if hamming else draws.random((clean, clean)))
    # Rare contexts, many of them equal, a few that never occur, and some that occur often.
    table = draws.integers(0, 2, (30, alphabet)) * draws.integers(0, 3, (30, alphabet))
    table[::7] *= draws.integers(1, 9, (5, alphabet))
    decisions, total = literal(table, parts, kind)
    dense, loss, occurring = best_rules(table, parts, kind)
    assert {pair: int(dense[pair]) for pair in decisions} == decisions
    assert loss.total == pytest.approx(total, abs=1e-9)
    assert occurring == (table.sum(axis=1) > 0).sum()
    contexts, symbols = np.nonzero(table)
    numbers = np.unique(contexts, return_inverse=True)[1]
    sparse, loss = rules_of_pairs(numbers, symbols, table[contexts, symbols], parts, kind)
    assert dict(zip(zip(contexts.tolist(), symbols.tolist(), strict=True), sparse.tolist(), strict=True)) == decisions
    assert loss.total == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("kind", ["plain", "unbiased", "left_out"])
def test_equal_counts_have_one_rule(kind, monkeypatch):
    """A text of 86 letters has tens of thousands of contexts and a few thousand different counts."""
    parts, rows = head_estimate(Channel.symmetric(20, 0.1)), []
    table = np.zeros((5000, 20), dtype=np.int64)
    table[np.arange(5000), np.arange(5000) % 20] = 1
    contexts, symbols = np.nonzero(table)

    def noted(counts, *arguments):
        rows.append(len(counts))
        return original(counts, *arguments)

    from myosotis.denoising import counted_rules

    original = counted_rules._rules
    monkeypatch.setattr(counted_rules, "_rules", noted)
    rules_of_pairs(contexts, symbols, table[contexts, symbols], parts, kind)
    assert sum(rows) == (20 if kind == "plain" else 1)


@pytest.mark.parametrize("kind", ["plain", "unbiased", "left_out"])
def test_blocks_do_not_matter(kind, monkeypatch):
    draws = np.random.default_rng(0)
    parts, table = head_estimate(Channel.symmetric(4, 0.1)), draws.integers(0, 4, (300, 4))
    contexts, symbols = np.nonzero(table)
    pairs = np.unique(contexts, return_inverse=True)[1], symbols, table[contexts, symbols]
    whole = best_rules(table, parts, kind), rules_of_pairs(*pairs, parts, kind)
    monkeypatch.setattr("myosotis.denoising.counted_rules._BLOCK", 100)
    cut = best_rules(table, parts, kind), rules_of_pairs(*pairs, parts, kind)
    for before, after in zip(whole, cut, strict=True):
        assert (before[0] == after[0]).all()
        assert before[1].total == pytest.approx(after[1].total, abs=1e-9)
        assert before[1].squares == pytest.approx(after[1].squares, abs=1e-9, nan_ok=True)


def test_no_pairs():
    nothing = np.zeros(0, dtype=np.int64)
    decisions, loss = rules_of_pairs(nothing, nothing, nothing, head_estimate(Channel.symmetric(4, 0.1)), "unbiased")
    assert (len(decisions), loss) == (0, LossSum())


def literal_error(table, parts, kind):
    """The bound by its definition, symbol by symbol."""
    total, every = 0.0, np.arange(len(parts))
    for row in table:
        for symbol in np.flatnonzero(row):
            for _ in range(row[symbol]):
                mapping = []
                for w in every:
                    counts = row.astype(float)
                    counts[symbol] -= 1
                    counts[w] += kind == "unbiased"
                    scores = counts @ parts[:, w]
                    best = np.flatnonzero(scores <= scores.min() + 1e-9)
                    mapping.append(w if w in best else best[0])
                gain = sum(parts[symbol, w, w] - parts[symbol, w, h] for w, h in enumerate(mapping))
                total += (abs(gain) + (mapping[symbol] != symbol)) ** 2
    return total


@pytest.mark.parametrize("kind", ["unbiased", "left_out"])
def test_the_error_against_its_definition(kind):
    draws = np.random.default_rng(3)
    parts, table = head_estimate(Channel.symmetric(3, 0.15)), draws.integers(0, 5, (40, 3))
    expected = literal_error(table, parts, kind)
    assert best_rules(table, parts, kind)[1].squares == pytest.approx(expected)
    contexts, symbols = np.nonzero(table)
    numbers = np.unique(contexts, return_inverse=True)[1]
    assert rules_of_pairs(numbers, symbols, table[contexts, symbols], parts, kind)[1].squares == pytest.approx(expected)


def test_what_the_biased_estimate_gains_is_not_known():
    parts, table = head_estimate(Channel.symmetric(3, 0.15)), np.array([[4, 1, 0]])
    assert best_rules(table, parts, "plain")[1].standard_error(5, parts) is None
    pairs = (np.zeros(2, dtype=int), np.array([0, 1]), np.array([4, 1]))
    assert rules_of_pairs(*pairs, parts, "plain")[1].standard_error(5, parts) is None
