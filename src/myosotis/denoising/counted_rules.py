"""The rule of each context, from the counts of the noisy symbols in it."""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from myosotis.denoising.channel import Numbers, Symbols

_BLOCK = 1 << 18
"""Largest number of counts, or of scores, that are handled at once: they should stay in the cache."""
_FEWEST = 1 << 7
"""Rows of counts that are handled at once however many scores each has: products of narrow matrices are slow."""
_FEW_SYMBOLS = 8
"""Largest alphabet where a rule is made faster than one of equal counts is looked for."""
_TIE = 1e-9

Counts = NDArray[np.int32] | NDArray[np.int64]

EstimateKind = Literal["plain", "unbiased", "left_out"]
"""How a symbol is judged.

With counts m the score of reconstruction h of a noisy w is ``sum_a m[a] H[a, w, h]``. A symbol a is judged by the
mapping of its context: as it is (``plain``, which depends on a itself); as it would be with a left out (``left_out``,
which then is the rule, too); or with w counted instead of a, for the rule of w (``unbiased``: a does not contribute).
"""


def best_rules(
    table: Counts, parts: Numbers, kind: EstimateKind, judged: Counts | None = None
) -> tuple[NDArray[np.int8], float, int]:
    """Return the reconstructions in every context, the sum of the estimated losses, and the number of contexts.

    Args:
        table: Counts, (contexts, symbols).
        parts: Estimate in parts, see :func:`~myosotis.denoising.mappings.head_estimate`.
        kind: Judgement of symbols.
        judged: Counts of the symbols that are judged; all of ``table`` unless given.

    Returns:
        The reconstruction of each symbol that occurs in each context, the loss, and the contexts that occur.
    """
    q, total = table.shape[1], 0.0
    decisions = np.zeros((len(table), q), dtype=np.int8)
    # A fourth of the time of ``sum``, whose loop over few symbols starts anew for each context.
    occurring = np.flatnonzero(np.einsum("ca->c", table))
    size = max(_FEWEST, _BLOCK // (q * q))
    for begin in range(0, len(occurring), size):
        rows = occurring[begin : begin + size]
        counts = table[rows].astype(np.float64)
        weights = counts if judged is None else judged[rows].astype(np.float64)
        if kind == "plain":
            rule = _rules(counts, parts, kind)
            decisions[rows] = rule.T
            for h in range(parts.shape[2]):
                # Symbols of the contexts whose rule reconstructs h, for each symbol that it is made for.
                total += float(((rule == h) @ weights * parts[:, :, h].T).sum())
            continue
        contexts, symbols = np.nonzero(weights)
        rule = _rules(_without(counts[contexts], symbols), parts, kind)
        decisions[rows[contexts], symbols] = rule[symbols, np.arange(len(symbols))]
        total += float(weights[contexts, symbols] @ _judged(symbols, rule, parts))
    return decisions, total, len(occurring)


def rules_of_pairs(
    contexts: NDArray[np.int64],
    symbols: NDArray[np.int64],
    counts: NDArray[np.int64],
    parts: Numbers,
    kind: EstimateKind,
) -> tuple[NDArray[np.int8], float]:
    """Return the reconstruction of each symbol in its context and the sum of the estimated losses.

    Rules are the same wherever the counts are: for a large alphabet each is made once. Most of its contexts are rare
    and have the counts of many others.

    Args:
        contexts: Number of the context of each pair of a context and a symbol: from 0, in order, without gaps.
        symbols: Symbol of each pair.
        counts: How often the symbol occurs in the context.
        parts: Estimate in parts.
        kind: Judgement of symbols.
    """
    q, total = len(parts), 0.0
    decisions = np.zeros(len(symbols), dtype=np.int8)
    if not len(symbols):
        return decisions, total
    starts = np.flatnonzero(np.diff(contexts, prepend=-1))
    table = sparse.csr_array((counts, symbols, np.append(starts, len(symbols))), shape=(len(starts), q))
    order = None if q <= _FEW_SYMBOLS else _order_of_counts(contexts, symbols, counts, starts, q, kind)
    size = max(_FEWEST, _BLOCK // q)
    for begin in range(0, len(symbols), size):
        part = slice(begin, begin + size)
        pairs = part if order is None else order[part]
        asked = symbols[pairs]
        rows = table[contexts[pairs]].toarray().astype(np.float64)
        if kind != "plain":
            rows = _without(rows, asked)
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
        rule = _rules(rows[new], parts, kind)[:, np.cumsum(new) - 1]
        decisions[pairs] = rule[asked, np.arange(len(asked))]
        total += float(counts[pairs] @ _judged(asked, rule, parts))
    return decisions, total


def _order_of_counts(
    contexts: NDArray[np.int64],
    symbols: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    q: int,
    kind: EstimateKind,
) -> NDArray[np.int64]:
    """An order of pairs in which the counts that rules are made of stand together where they are equal."""
    # That others may have the same number costs time alone.
    numbers = np.random.default_rng(0).integers(0, 1 << 63, q, dtype=np.uint64)
    keys = np.add.reduceat(counts.astype(np.uint64) * numbers[symbols], starts)[contexts]
    if kind != "plain":
        keys -= numbers[symbols]
    return np.argsort(keys)


def _without(counts: Numbers, symbols: NDArray[np.int64]) -> Numbers:
    """Take one of a symbol off each row, in place."""
    counts[np.arange(len(symbols)), symbols] -= 1
    return counts


def _rules(counts: Numbers, parts: Numbers, kind: EstimateKind) -> NDArray[np.int8]:
    """The best reconstruction of each symbol for each row of counts; of ties the symbol itself, or else the first.

    Args:
        counts: (rows, symbols), without the symbol that is judged unless ``kind`` is plain.
        parts: Estimate in parts.
        kind: Judgement of symbols.

    Returns:
        (symbols, rows).
    """
    q, reconstructions = parts.shape[1:]
    # Reconstructions first and rows last: each step is one over all symbols and rows.
    flat_parts = np.ascontiguousarray(parts.transpose(2, 1, 0)).reshape(-1, len(parts))
    every = np.arange(q)
    slack = _TIE * (counts.sum(axis=1) + (1 if kind == "plain" else 2))
    rules = np.zeros((q, len(counts)), dtype=np.int8)
    size = max(_FEWEST, _BLOCK // (q * reconstructions))
    for begin in range(0, len(counts), size):
        part = slice(begin, begin + size)
        scores = (flat_parts @ counts[part].T).reshape(reconstructions, q, -1)
        if kind == "unbiased":
            # The symbol itself counted.
            scores += parts[every, every].T[:, :, None]
        limit = scores.min(axis=0)
        limit += slack[part]
        rule, worse = rules[:, part], np.ones(limit.shape, dtype=bool)
        for h in range(reconstructions - 1):
            worse &= scores[h] > limit
            rule += worse
        if reconstructions == q:
            for w in range(q):
                np.copyto(rule[w], w, where=scores[w, w] <= limit[w])
    return rules


def _judged(symbols: NDArray[np.int64], rules: NDArray[np.int8], parts: Numbers) -> Numbers:
    """The estimated loss of a rule for each row and the symbol seen there: ``sum_w H[a, w, rule(w)]``.

    Args:
        symbols: Symbol of each row.
        rules: (symbols, rows).
        parts: Estimate in parts.
    """
    losses = np.zeros(rules.shape[1])
    for w, rule in enumerate(rules):
        losses += parts[symbols, w, rule]
    return losses


def settle_uncovered(
    denoised: Symbols,
    flat: Symbols,
    uncovered: Callable[[], Iterator[NDArray[np.int64]]],
    parts: Numbers,
    kind: EstimateKind,
) -> float:
    """Denoise the symbols without a complete context in place, and return their estimated loss.

    Args:
        denoised: All symbols, those without a complete context as they were seen.
        flat: Noisy symbols.
        uncovered: Function that returns the indices of symbols without a complete context, block by block.
        parts: Estimate in parts.
        kind: Judgement of symbols.
    """
    q = parts.shape[0]
    left = np.zeros(q, dtype=np.int64)
    for some in uncovered():
        left += symbol_counts(flat[some], q)
    if parts.shape[2] == q:
        every = np.arange(q)
        return float(left @ parts[:, every, every].sum(axis=1))
    if not left.any():
        return 0.0
    decisions, loss, _ = best_rules(symbol_counts(flat, q)[None], parts, kind, left[None])
    for some in uncovered():
        denoised[some] = decisions[0, flat[some]]
    return loss


def symbol_counts(symbols: Symbols, alphabet: int) -> NDArray[np.int64]:
    """Return how often each symbol occurs; in parts, as ``bincount`` takes eight bytes for each.

    Args:
        symbols: Whole numbers from 0, of any shape.
        alphabet: Number of different symbols.
    """
    flat, counts = symbols.ravel(), np.zeros(alphabet, dtype=np.int64)
    for begin in range(0, len(flat), _BLOCK):
        counts += np.bincount(flat[begin : begin + _BLOCK].astype(np.int64), minlength=alphabet)
    return counts
