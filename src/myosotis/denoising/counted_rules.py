"""The rule of each context, from the counts of the noisy symbols in it."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Numbers, Symbols

_RULES = 1 << 20
_TIE = 1e-9

EstimateKind = Literal["plain", "unbiased", "left_out"]
"""How a symbol is judged; see :func:`best_rules`."""


def best_rules(
    table: NDArray[np.int64], parts: Numbers, kind: EstimateKind, judged: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int8], float, int]:
    """Return the reconstruction of each symbol in each context, the sum of the estimated losses, and the contexts.

    With counts m the score of reconstruction h of a noisy w is ``sum_a m[a] H[a, w, h]``. A symbol a is judged by the
    mapping of its context: as it is (``plain``, which depends on a itself); as it would be with a left out
    (``left_out``, which then is the rule, too); or with w counted instead of a, for the rule of w (``unbiased``: a
    does not contribute). The losses are those of all counted symbols, or of the counts ``judged``.
    """
    q = table.shape[1]
    keeps = parts.shape[2] == q
    decisions = np.zeros((len(table), q), dtype=np.int8)
    if keeps:
        decisions += np.arange(q, dtype=np.int8)
    total, every = 0.0, np.arange(q)
    flat_parts = np.ascontiguousarray(parts.reshape(q, -1).T)
    # A fourth of the time of ``sum``, whose loop over few symbols starts anew for each context.
    totals = np.einsum("ca->c", table)
    occurring = np.flatnonzero(totals)
    size = max(1, _RULES // (q * q))
    # What leaving a symbol out, or another one in its place, does to the scores: (symbols, reconstructions, left out).
    own = parts[every, every] if kind == "unbiased" else np.zeros(parts.shape[1:])
    change = np.ascontiguousarray((own - parts).transpose(1, 2, 0))
    for begin in range(0, len(occurring), size):
        rows = occurring[begin : begin + size]
        counts = table[rows].astype(np.float64)
        weights = counts if judged is None else judged[rows].astype(np.float64)
        scores = (flat_parts @ counts.T).reshape(*parts.shape[1:], -1)
        slack = _TIE * (1 + totals[rows])
        if kind != "left_out":
            decisions[rows] = rule = _best(scores, slack, keeps)
        if kind == "plain":
            total += float((weights * _judged(rule, parts)).sum())
            continue
        losses = np.zeros((q, len(rows)))
        # Only symbols that occur are judged: a context has few of a large alphabet, and the cost of each is quadratic.
        symbols, contexts = np.nonzero(weights.T)
        for low in range(0, len(contexts), size):
            c, a = contexts[low : low + size], symbols[low : low + size]
            shifted = np.take(scores, c, axis=2)
            shifted += np.take(change, a, axis=2)
            rule = _best(shifted, slack[c], keeps)
            if kind == "left_out":
                decisions[rows[c], a] = rule[np.arange(len(a)), a]
            judgements = np.zeros(len(a))
            for w in range(q):
                judgements += parts[a, w, rule[:, w]]
            losses[a, c] = weights[c, a] * judgements
        for row in losses:
            total += float(row.sum())
    return decisions, total, len(occurring)


def _best(scores: Numbers, slack: Numbers, keeps: bool) -> NDArray[np.int8]:
    """The best reconstruction of each symbol in each context; of ties the symbol itself, or else the first.

    Args:
        scores: (symbols, reconstructions, contexts): contexts lie together, so that each step is one over all of them.
        slack: Tolerance of ties in each context.
        keeps: Whether a symbol may be kept as it is.
    """
    symbols, reconstructions, contexts = scores.shape
    rule = np.zeros((contexts, symbols), dtype=np.int8)
    for w in range(symbols):
        limit = scores[w].min(axis=0) + slack
        best = np.zeros(contexts, dtype=np.int8)
        for h in range(reconstructions - 1, -1, -1):
            best[scores[w, h] <= limit] = h
        if keeps:
            best[scores[w, w] <= limit] = w
        rule[:, w] = best
    return rule


def _judged(rule: NDArray[np.int8], parts: Numbers) -> Numbers:
    """The estimated loss of a rule for each context and noisy symbol: ``sum_w H[a, w, rule(w)]``."""
    losses_of_rule = np.zeros((len(rule), len(parts)))
    for a, part in enumerate(parts):
        for w, losses in enumerate(part):
            losses_of_rule[:, a] += losses[rule[:, w]]
    return losses_of_rule


def settle_uncovered(
    denoised: Symbols, flat: Symbols, covered: NDArray[np.bool_], parts: Numbers, kind: EstimateKind
) -> float:
    """Denoise the symbols without a complete context in place, and return their estimated loss."""
    q, left = parts.shape[0], flat[~covered].astype(np.int64)
    if not len(left):
        return 0.0
    if parts.shape[2] == q:
        every = np.arange(q)
        return float(parts[:, every, every].sum(axis=1)[left].sum())
    table, judged = (np.bincount(symbols, minlength=q)[None] for symbols in (flat, left))
    decisions, loss, _ = best_rules(table, parts, kind, judged)
    denoised[~covered] = decisions[0, left]
    return loss
