"""Counting symbols by their contexts: in a table of all contexts, or by sorting the contexts that occur."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Numbers, Symbols
from myosotis.denoising.context_keys import context_keys
from myosotis.denoising.contexts import Context, Context1d, Context2d, Pad
from myosotis.denoising.counted_rules import EstimateKind, best_rules, rules_of_pairs, settle_uncovered

_BLOCK = 1 << 16

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Denoised symbols of a flat array.

    Attributes:
        symbols: Row by row.
        total_loss: Sum of the estimated losses.
        contexts: Different contexts that were counted.
        covered: Number of symbols that have a complete context.
    """

    symbols: Symbols
    total_loss: float
    contexts: int
    covered: int


def by_line_table(
    flat: Symbols, sizes: NDArray[np.int64], k: int, q: int, parts: Numbers, kind: EstimateKind
) -> Counted:
    """Denoise by a table of all contexts along a line.

    Args:
        flat: Noisy symbols of all sequences.
        sizes: Lengths of the sequences.
        k: Symbols of the context on each side.
        q: Size of the alphabet.
        parts: Estimate in parts, see :func:`~myosotis.denoising.mappings.head_estimate`.
        kind: Judgement of symbols, see :func:`.best_rules`.
    """
    count, total = q ** (2 * k + 1), len(flat)
    single = len(sizes) == 1
    # Symbols with a complete context; a single sequence needs slices alone.
    complete = None if single else _complete(sizes, k)[k : total - k]
    counts = np.zeros(count, dtype=np.int64)
    for begin, keys in line_keys(flat, k, q):
        counted = keys if complete is None else keys[complete[begin : begin + len(keys)]]
        # Faster than ``bincount``, whose table is new memory each time.
        np.add.at(counts, counted, 1)
    decisions, loss, contexts = best_rules(counts.reshape(-1, q), parts, kind)
    flat_rules = decisions.astype(flat.dtype).ravel()
    denoised = np.empty_like(flat) if complete is None else flat.copy()
    denoised[:k], denoised[total - k :] = flat[:k], flat[total - k :]
    inner = denoised[k : total - k]
    for begin, keys in line_keys(flat, k, q):
        part = inner[begin : begin + len(keys)]
        if complete is None:
            # Keys are in range; without the check of it nothing is copied twice.
            np.take(flat_rules, keys, out=part, mode="clip")
        else:
            np.copyto(part, flat_rules[keys], where=complete[begin : begin + len(keys)])
    covered = np.zeros(total, dtype=bool)
    covered[k : total - k] = True if complete is None else complete
    return Counted(
        denoised, loss + settle_uncovered(denoised, flat, covered, parts, kind), contexts, int(covered.sum())
    )


def line_keys(flat: Symbols, k: int, q: int) -> Iterator[tuple[int, Keys]]:
    """Context and symbol as one number, block by block: the start of a block, counted from symbol k, and its numbers.

    Blocks are small enough to stay in the cache; the array is reused for the next block.
    """
    last = len(flat) - 2 * k
    buffer = np.empty(min(_BLOCK, max(last, 0)), dtype=np.int64)
    # Half a context and the symbol: the narrower the numbers, the more of them are handled at once.
    narrow = np.min_scalar_type(q ** (k + 1))
    shift = q ** (k + 1)
    bits = shift.bit_length() - 1 if shift & (shift - 1) == 0 else None
    for begin in range(0, last, _BLOCK):
        width = min(last - begin, _BLOCK)
        block, keys = flat[begin : begin + width + 2 * k].astype(narrow), buffer[:width]
        sides = _packed(block, k, q)
        keys[:] = sides[:width]
        if bits is None:
            keys *= shift
        else:
            # Several times as fast as a product of 64 bits.
            keys <<= bits
        after = sides[k + 1 : k + 1 + width] * narrow.type(q)
        after += block[k : k + width]
        keys += after
        yield begin, keys


def _packed(block: NDArray[Any], width: int, q: int) -> NDArray[Any]:
    """All runs of ``width`` symbols as one number each, by doubling."""
    if width == 1:
        return block
    # The first part, and how many symbols are put behind it.
    more = 1 if width % 2 else width // 2
    first = _packed(block, width - more, q)
    second = block[width - 1 :] if more == 1 else first[more:]
    packed: NDArray[Any] = first[: len(second)] * block.dtype.type(q**more)
    packed += second
    return packed


def _complete(sizes: NDArray[np.int64], k: int) -> NDArray[np.bool_]:
    complete = np.ones(int(sizes.sum()), dtype=bool)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    for step in range(k):
        complete[np.minimum(starts + step, ends - 1)] = False
        complete[np.maximum(ends - 1 - step, starts)] = False
    return complete


def by_plane_table(noisy: Symbols, context: Context2d, q: int, parts: Numbers, kind: EstimateKind, pad: Pad) -> Counted:
    """Denoise by a table of all contexts on a plane; arguments as for :func:`by_line_table` and :func:`.dude`."""
    up, left = np.maximum(0, -context.offsets.min(axis=0)).tolist()
    down, right = np.maximum(0, context.offsets.max(axis=0)).tolist()
    denoised = noisy.copy(order="C")
    if pad == "symbol0":
        plane, inner, edge = np.pad(noisy, ((up, down), (left, right))), denoised, None
    else:
        # Symbols with their complete context on the plane.
        plane, edge = noisy, np.ones(noisy.shape, dtype=bool)
        whole = slice(up, max(up, noisy.shape[0] - down)), slice(left, max(left, noisy.shape[1] - right))
        inner, edge[whole] = denoised[whole], False
    counts = np.zeros(q ** (context.size + 1), dtype=np.int64)
    for _, keys in _plane_keys(plane, inner.shape, (up, left), context, q):
        np.add.at(counts, keys.ravel(), 1)
    decisions, loss, contexts = best_rules(counts.reshape(-1, q), parts, kind)
    flat_rules = decisions.astype(noisy.dtype).ravel()
    for top, keys in _plane_keys(plane, inner.shape, (up, left), context, q):
        inner[top : top + len(keys)] = flat_rules.take(keys, mode="clip")
    if edge is not None and edge.any():
        bytes_of_edge = _edge_keys(noisy, np.flatnonzero(edge), context, q)
        denoised[edge], further, more = _denoise_distinct(bytes_of_edge, noisy[edge], q, parts, kind)
        loss, contexts = loss + further, contexts + more
    return Counted(denoised.ravel(), loss, contexts, noisy.size)


def _plane_keys(
    plane: Symbols, shape: tuple[int, ...], origin: tuple[int, int], context: Context2d, q: int
) -> Iterator[tuple[int, Keys]]:
    """Context and symbol as one number, by blocks of rows: the first row, and (rows, columns) numbers.

    Args:
        plane: Symbols with everything that offsets lead to.
        shape: Rows and columns of the part.
        origin: Row and column where it begins.
        context: The context.
        q: Size of the alphabet.
    """
    height, width = shape
    rows = max(1, _BLOCK // max(1, width))
    narrow = np.min_scalar_type(q ** (context.size + 1))
    steps = [(origin[0] + dy, origin[1] + dx) for dy, dx in [*context.offsets.tolist(), [0, 0]]]
    for top in range(0, height if width else 0, rows):
        bottom = min(height, top + rows)
        numbers = np.zeros((bottom - top, width), dtype=narrow)
        for y, x in steps:
            numbers *= narrow.type(q)
            numbers += plane[y + top : y + bottom, x : x + width].astype(narrow)
        yield top, numbers.astype(np.int64)


def _edge_keys(noisy: Symbols, indices: NDArray[np.int64], context: Context2d, q: int) -> NDArray[np.generic]:
    """The bytes of the contexts at given indices, with a sign of its own beyond the edge."""
    reach = int(np.abs(context.offsets).max())
    padded = np.pad(noisy.astype(np.min_scalar_type(q)), reach, constant_values=q)
    rows, columns = np.divmod(indices, noisy.shape[1])
    starts = (rows + reach) * padded.shape[1] + columns + reach
    windows = padded.ravel()[starts[:, None] + context.offsets @ [padded.shape[1], 1]]
    kind: np.dtype[np.generic] = np.dtype((np.void, windows.dtype.itemsize * context.size))
    return np.asarray(windows.view(kind)[:, 0])


def by_sorting(
    noisy: Symbols,
    context: Context,
    q: int,
    parts: Numbers,
    kind: EstimateKind,
    lengths: Sequence[int] | None,
    pad: Pad,
) -> Counted:
    """Denoise by sorting the contexts that occur; arguments as for :func:`by_line_table` and :func:`.dude`."""
    flat = np.ascontiguousarray(noisy).ravel()
    along_a_line = isinstance(context, Context1d)
    keys, covered = context_keys(noisy, context, q, lengths=lengths, pad=pad)
    if not along_a_line:
        # On a plane the sign beyond the edge is a part of the context.
        covered = np.ones(len(flat), dtype=bool)
    denoised = flat.copy()
    denoised[covered], loss, contexts = _denoise_distinct(keys[covered], flat[covered], q, parts, kind)
    return Counted(
        denoised, loss + settle_uncovered(denoised, flat, covered, parts, kind), contexts, int(covered.sum())
    )


def _denoise_distinct(
    keys: NDArray[np.generic], symbols: Symbols, q: int, parts: Numbers, kind: EstimateKind
) -> tuple[NDArray[np.int8], float, int]:
    """Denoised symbols of contexts that differ in their keys, the loss, and the number of contexts."""
    _, numbers = np.unique(keys, return_inverse=True)
    contexts = int(numbers.max()) + 1 if len(numbers) else 0
    joint = numbers.ravel() * q + symbols.astype(np.int64)
    pairs, numbers, counts = np.unique(joint, return_inverse=True, return_counts=True)
    decisions, loss = rules_of_pairs(*np.divmod(pairs, q), counts, parts, kind)
    return decisions[numbers.ravel()], loss, contexts
