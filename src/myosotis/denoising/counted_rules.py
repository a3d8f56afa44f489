"""The rule of each context, from the counts of the noisy symbols in it."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
_DEPENDENCE = 1.5

Counts = NDArray[np.int32] | NDArray[np.int64]

EstimateKind = Literal["plain", "unbiased", "left_out"]
"""How a symbol is judged.

With counts m the score of reconstruction h of a noisy w is ``sum_a m[a] H[a, w, h]``. A symbol a is judged by the
mapping of its context: as it is (``plain``, which depends on a itself); as it would be with a left out (``left_out``,
which then is the rule, too); or with w counted instead of a, for the rule of w (``unbiased``: a does not contribute).
"""


@dataclass(frozen=True)
class LossSum:
    """Estimated losses of symbols, added up.

    The estimated gain of a symbol is what leaving it as it is would lose, less the estimated loss of its mapping; the
    true gain is 0 where it was left, and between -1 and 1 where it was changed. So the error of the sum would have at
    most the variance ``sum (|estimated gain| + changed)^2`` if the errors of symbols were independent.

    Attributes:
        total: Sum of the estimated losses.
        squares: That bound; NaN where it is not known.
    """

    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "LossSum") -> "LossSum":
        return LossSum(self.total + other.total, self.squares + other.squares)

    def standard_error(self, count: int, parts: Numbers, loss: Numbers | None = None) -> float | None:
        """Return the standard error of the mean gain of ``count`` symbols; None where it is not known.

        One symbol more is counted, with the largest error that there can be: few symbols may lack a rare one. Symbols
        share contexts, so that their errors are not independent. For that the result is 1.5 times as large, a number
        found by simulation: with it the intervals held 94 or more of 100 true gains (``benchmarks/intervals.py``).

        Args:
            count: Number of symbols.
            parts: Estimate in parts, see :func:`~myosotis.denoising.mappings.head_estimate`.
            loss: (clean, reconstructed); Hamming's unless given. A changed symbol gains no more than it differs by.
        """
        if not math.isfinite(self.squares):
            return None
        unchanged = unchanged_loss(parts)
        ends = parts.min(axis=2).sum(axis=1), parts.max(axis=2).sum(axis=1)
        worst = max(float(np.abs(unchanged - end).max()) for end in ends)
        span = 1.0 if loss is None else max(1.0, float(np.ptp(loss)))
        return span * _DEPENDENCE * math.sqrt(self.squares + (worst + 1) ** 2) / count


def unchanged_loss(parts: Numbers) -> Numbers:
    """Return the estimated loss of leaving each symbol as it is; NaN where it is none of the reconstructions.

    Args:
        parts: Estimate in parts, (symbols, symbols, reconstructions).
    """
    every = np.arange(len(parts))
    if parts.shape[2] != len(parts):
        return np.full(len(parts), np.nan)
    return np.asarray(parts[:, every, every].sum(axis=1))


def loss_sum(
    losses: Numbers,
    symbols: NDArray[np.int64],
    changed: NDArray[np.bool_],
    parts: Numbers,
    weights: Numbers | None = None,
) -> LossSum:
    """Add up estimated losses.

    Args:
        losses: Estimated loss of a mapping, for each of some symbols.
        symbols: The symbols.
        changed: Whether the mapping changes each of them.
        parts: Estimate in parts.
        weights: How often each occurs; once unless given.
    """
    counts = np.ones(len(losses)) if weights is None else weights
    errors = np.abs(unchanged_loss(parts)[symbols] - losses) + changed
    return LossSum(float(counts @ losses), float(counts @ errors**2))


def best_rules(
    table: Counts, parts: Numbers, kind: EstimateKind, judged: Counts | None = None
) -> tuple[NDArray[np.int8], LossSum, int]:
    """Return the reconstructions in every context, the sum of the estimated losses, and the number of contexts.

    Args:
        table: Counts, (contexts, symbols).
        parts: Estimate in parts, see :func:`~myosotis.denoising.mappings.head_estimate`.
        kind: Judgement of symbols.
        judged: Counts of the symbols that are judged; all of ``table`` unless given.

    Returns:
        The reconstruction of each symbol that occurs in each context, the loss, and the contexts that occur.
    """
    q, total = table.shape[1], LossSum()
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
                loss = float(((rule == h) @ weights * parts[:, :, h].T).sum())
                total += LossSum(loss, math.nan)  # symbols are judged by rules that they contribute to
            continue
        contexts, symbols = np.nonzero(weights)
        rule = _rules(_without(counts[contexts], symbols), parts, kind)
        chosen = rule[symbols, np.arange(len(symbols))]
        decisions[rows[contexts], symbols] = chosen
        losses = _judged(symbols, rule, parts)
        total += loss_sum(losses, symbols, chosen != symbols, parts, weights[contexts, symbols])
    return decisions, total, len(occurring)


def rules_of_pairs(
    contexts: NDArray[np.int64],
    symbols: NDArray[np.int64],
    counts: NDArray[np.int64],
    parts: Numbers,
    kind: EstimateKind,
) -> tuple[NDArray[np.int8], LossSum]:
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
    q, total = len(parts), LossSum()
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
        chosen = rule[asked, np.arange(len(asked))]
        decisions[pairs] = chosen
        total += loss_sum(_judged(asked, rule, parts), asked, chosen != asked, parts, counts[pairs].astype(np.float64))
    if kind == "plain":
        total = LossSum(total.total, math.nan)
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
) -> LossSum:
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
        return LossSum(float(left @ unchanged_loss(parts)))
    if not left.any():
        return LossSum()
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
