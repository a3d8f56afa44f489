"""Keys of contexts: equal for equal contexts."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import Context, Field, Pad, pieces

_LARGEST_KEY = 62  # bits


def context_keys(
    noisy: Symbols, context: Context, alphabet: int, *, lengths: Sequence[int] | None = None, pad: Pad = "outside"
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Return a key for the context of each symbol, equal for equal contexts, and which contexts are complete.

    Args:
        noisy: Symbols as for :func:`~myosotis.denoising.contexts.make_field`.
        context: Shape of the context.
        alphabet: Size of the alphabet.
        lengths: Lengths of sequences that stand one after another.
        pad: What a context has beyond the edge.

    Returns:
        Whole numbers where 62 bits hold a context, the bytes of contexts otherwise.
    """
    base = alphabet + (pad == "outside")
    numbers = context.size * np.log2(base) <= _LARGEST_KEY
    kind: np.dtype[np.generic] = np.dtype(np.int64) if numbers else np.dtype((np.void, context.size))
    keys, complete = np.empty(noisy.size, dtype=kind), np.empty(noisy.size, dtype=bool)
    for begin, end, field in pieces(noisy, context, alphabet, lengths=lengths, pad=pad):
        complete[begin:end] = field.complete()
        keys[begin:end] = field_keys(field, alphabet)
    return keys, complete


def field_keys(field: Field, alphabet: int) -> NDArray[np.generic]:
    """Return a key for the context of each symbol of a field, as :func:`context_keys` does.

    Args:
        field: Symbols and their contexts.
        alphabet: Size of the alphabet.
    """
    size, base = len(field.steps), alphabet + (field.outside == alphabet)
    if size * np.log2(base) > _LARGEST_KEY:
        return np.asarray(np.ascontiguousarray(field.windows()).view(np.dtype((np.void, size)))[:, 0])
    keys, positions = np.zeros(len(field), dtype=np.int64), field.positions()
    for step in field.steps:
        keys *= base
        keys += field.padded[positions + step]
    return keys
