"""DUDE over sequences that come in parts, twice: once to be counted, once to be denoised."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Channel, Numbers, Symbols
from myosotis.denoising.context_selection import least_context
from myosotis.denoising.contexts import Context, Context1d
from myosotis.denoising.count_tables import count_line, count_type, denoise_line
from myosotis.denoising.counted_rules import LossSum, best_rules, symbol_counts, unchanged_loss
from myosotis.denoising.mappings import head_estimate


@dataclass(frozen=True)
class StreamedDUDE:
    """Rules that were counted over all parts.

    Attributes:
        context: The context, of the least estimated loss.
        estimates: Estimated losses of all candidates.
        standard_error: Standard error of what the best estimate says was gained.
        contexts: Number of different contexts.
        counts: Number of each symbol.
        rules: The reconstruction for each context and symbol.
    """

    context: Context1d
    estimates: dict[Context, float]
    standard_error: float | None
    contexts: int
    counts: NDArray[np.int64]
    rules: NDArray[np.int8]

    def denoise(self, symbols: Symbols, lengths: NDArray[np.int64]) -> Symbols:
        """Return the denoised symbols of a part, whole sequences of these lengths."""
        return denoise_line(self.rules, symbols, lengths, self.context.half_width, len(self.counts))


def streamed_dude(
    parts: Iterable[tuple[Symbols, NDArray[np.int64]]],
    channel: Channel,
    candidates: Sequence[Context1d],
    symbols: int,
    *,
    leave_one_out: bool = False,
) -> StreamedDUDE:
    """Count contexts part by part; memory does not grow with the sequences.

    The results are those of :func:`~myosotis.denoising.context_selection.select_context` and
    :func:`~myosotis.denoising.counting.dude_in_context`, its estimates the unbiased ones.

    Args:
        parts: Symbols of whole sequences, and the lengths of these.
        channel: The noise; as many noisy symbols as clean ones.
        candidates: Contexts to choose from, each with a table in memory.
        symbols: Number of all symbols.
        leave_one_out: Do not count a symbol in its own context.
    """
    q, estimate = channel.outputs, head_estimate(channel)
    kind, total = count_type(symbols), np.zeros(channel.outputs, dtype=np.int64)
    tables = {context: np.zeros(q ** (context.size + 1), dtype=kind) for context in candidates}
    for some, lengths in parts:
        total += symbol_counts(some, q)
        for context, counts in tables.items():
            count_line(counts, some, lengths, context.half_width, q)
    unchanged: Numbers = unchanged_loss(estimate)
    estimates, results = dict[Context, float](), dict[Context, tuple[NDArray[np.int8], int, LossSum]]()
    for context in candidates:
        table = tables.pop(context).reshape(-1, q)
        decisions, loss, contexts = best_rules(table, estimate, "left_out" if leave_one_out else "unbiased")
        # Symbols without a complete context stay.
        loss += LossSum(float((total - table.sum(axis=0)) @ unchanged))
        estimates[context], results[context] = loss.total / symbols, (decisions.ravel(), contexts, loss)
    best = least_context(estimates)
    assert isinstance(best, Context1d)  # noqa: S101 - all candidates are
    rules, contexts, loss = results[best]
    return StreamedDUDE(best, estimates, loss.standard_error(symbols, estimate), contexts, total, rules)
