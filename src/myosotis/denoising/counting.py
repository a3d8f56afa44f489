"""DUDE: count the symbols in each context, and invert the channel.

Weissman, Ordentlich, Seroussi, Verdú, Weinberger: Universal Discrete Denoising: Known Channel (IEEE Transactions on
Information Theory 51, 2005).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from myosotis.denoising.channel import Channel, Numbers, Symbols, check_symbols
from myosotis.denoising.contexts import Context, Context1d, Context2d, Pad, check_alphabet, check_lengths
from myosotis.denoising.count_tables import Counted, by_line_table, by_plane_table, by_sorting
from myosotis.denoising.counted_rules import EstimateKind
from myosotis.denoising.mappings import head_estimate
from myosotis.engine.errors import SettingsError

LARGEST_TABLE = 1 << 26
"""Largest number of counts in a table of all contexts; for more, contexts are sorted."""
_SMALL_TABLE = 1 << 16
_BLOCK = 1 << 16


@dataclass(frozen=True)
class Denoised:
    """Denoised symbols and their estimated loss.

    Attributes:
        symbols: Denoised symbols, of the shape and the type of the noisy ones.
        estimated_loss: Mean loss over all symbols, estimated from the noisy ones alone. It is biased
            downwards, as symbols are judged by rules that they contribute to; see ``unbiased``.
        standard_error: Standard error of what the estimate says was gained, see
            :class:`~.counted_rules.LossSum`; None where it is not known: of the biased estimate, and of a loss with
            other reconstructions than noisy symbols.
        changed: Number of symbols that were changed.
        contexts: Number of different contexts.
        covered: Number of symbols that have a complete context; the others stay as they are. Where the loss has
            other reconstructions than noisy symbols, they are denoised by the counts of all symbols.
    """

    symbols: Symbols
    estimated_loss: float
    standard_error: float | None
    changed: int
    contexts: int
    covered: int


def dude(
    noisy: Symbols,
    channel: Channel,
    *,
    k: int | None = None,
    neighbours: int | None = None,
    loss: Numbers | None = None,
    leave_one_out: bool = False,
    unbiased: bool = False,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
) -> Denoised:
    """Denoise by counting.

    For a symbol z in a context whose counts of noisy symbols are m, the reconstruction is
    ``argmin_h m^T inverse (loss[:, h] * matrix[:, z])``: the loss under the clean symbols that the channel makes
    likely. Ties keep the symbol itself.

    Args:
        noisy: Whole numbers from 0, along a line or on a plane.
        channel: The noise.
        k: Along a line: symbols of the context on each side. The first and last k of a sequence stay.
        neighbours: On a plane: symbols of the context, the nearest ones.
        loss: (clean, reconstructed); Hamming's unless given.
        leave_one_out: Do not count a symbol in its own context. The rule of 2005 counts it, so that rare contexts
            are never changed; the estimated loss is useful only without.
        unbiased: Estimate the loss without that bias, at several times the cost: each symbol is judged by the rules
            that would hold if it had been seen as something else, what stands around it being the same. That is exact
            where contexts do not overlap, and nearly so where symbols are many.
        lengths: Along a line: lengths of sequences that stand one after another.
        pad: On a plane: what a context has beyond the edge.

    Returns:
        The denoised symbols and their estimated loss.

    Raises:
        SettingsError: There is no context, a symbol is outside the alphabet, the alphabet has more than 126 symbols, or
            sizes do not fit.

    Example:
        >>> noisy = np.array([int(bit) for bit in "0000100000011111011111100000"])
        >>> result = dude(noisy, Channel.binary_symmetric(0.1), k=1)
        >>> "".join(map(str, result.symbols)), result.changed, round(result.estimated_loss, 6)
        ('0000000000011111111111100000', 2, 0.044643)
    """
    context = chosen_context(noisy, k, neighbours)
    return dude_in_context(
        noisy, channel, context, loss=loss, leave_one_out=leave_one_out, unbiased=unbiased, lengths=lengths, pad=pad
    )


def dude_in_context(
    noisy: Symbols,
    channel: Channel,
    context: Context,
    *,
    loss: Numbers | None = None,
    leave_one_out: bool = False,
    unbiased: bool = False,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
) -> Denoised:
    """Denoise by counting, as :func:`dude`, with a given context.

    Args:
        noisy: Noisy symbols.
        channel: (clean, noisy) probabilities.
        context: Along a line or on a plane, as the symbols are.
        loss: (clean, reconstructed); Hamming's unless given.
        leave_one_out: Do not count a symbol in its own context.
        unbiased: Estimate the loss without bias.
        lengths: Along a line: lengths of sequences that stand one after another.
        pad: On a plane: what a context has beyond the edge.

    Raises:
        SettingsError: A symbol is outside the alphabet, the alphabet is too large, or sizes do not fit.
    """
    if noisy.ndim != context.offsets.shape[1]:
        raise SettingsError(f"the context has {context.offsets.shape[1]} dimensions, the symbols have {noisy.ndim}")
    if lengths is not None and noisy.ndim == 2:
        raise SettingsError("'lengths' needs symbols along a line")
    check_alphabet(channel.outputs)
    check_symbols(noisy, channel.outputs)
    parts = head_estimate(channel, loss)
    kind: EstimateKind = "left_out" if leave_one_out else "unbiased" if unbiased else "plain"
    flat = np.ascontiguousarray(noisy).ravel()
    # A table pays only where there are symbols to fill it.
    worth = channel.outputs ** (context.size + 1) <= min(LARGEST_TABLE, max(_SMALL_TABLE, 4 * len(flat)))
    if isinstance(context, Context1d):
        sizes = check_lengths(len(flat), lengths)
        if int(sizes.max()) < context.size + 1:
            raise SettingsError(
                f"the longest sequence has {sizes.max()} symbols; a context of {context.half_width} on each side needs "
                f"{context.size + 1}"
            )
        if worth:
            counted = by_line_table(flat, sizes, context.half_width, channel.outputs, parts, kind)
            return _shaped(counted, noisy, parts, loss)
    elif worth:
        return _shaped(by_plane_table(noisy, context, channel.outputs, parts, kind, pad), noisy, parts, loss)
    return _shaped(by_sorting(noisy, context, channel.outputs, parts, kind, lengths, pad), noisy, parts, loss)


def chosen_context(noisy: Symbols, k: int | None, neighbours: int | None) -> Context:
    """Return the context for symbols along a line or on a plane.

    Raises:
        SettingsError: Not exactly the number that fits is given.
    """
    if noisy.ndim == 1:
        if k is None or neighbours is not None:
            raise SettingsError("symbols along a line have a context of 'k' on each side")
        return Context1d(k)
    if noisy.ndim == 2:
        if neighbours is None or k is not None:
            raise SettingsError("symbols on a plane have a context of 'neighbours'")
        return Context2d(neighbours)
    raise SettingsError(f"symbols must have one or two dimensions, got {noisy.ndim}")


def _shaped(counted: Counted, noisy: Symbols, parts: Numbers, loss: Numbers | None) -> Denoised:
    flat, changed = noisy.ravel(), 0
    # Piece by piece in the cache: new memory for all of them would take longer than the comparison.
    for begin in range(0, len(flat), _BLOCK):
        part = slice(begin, begin + _BLOCK)
        changed += int(np.count_nonzero(counted.symbols[part] != flat[part]))
    symbols = counted.symbols.reshape(noisy.shape)
    error = counted.loss.standard_error(noisy.size, parts, loss)
    return Denoised(symbols, counted.loss.total / noisy.size, error, changed, counted.contexts, counted.covered)
