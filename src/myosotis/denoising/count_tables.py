"""Counting symbols by their contexts: in a table of all contexts, or by sorting the contexts that occur."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Numbers, Symbols
from myosotis.denoising.context_keys import context_keys
from myosotis.denoising.contexts import Context, Context1d, Context2d, Pad
from myosotis.denoising.counted_rules import (
    Counts,
    EstimateKind,
    LossSum,
    best_rules,
    rules_of_pairs,
    settle_uncovered,
)

_BLOCK = 1 << 16
_LARGEST_JOINT = 1 << 62

Keys = NDArray[np.int64]


@dataclass(frozen=True)
class Counted:
    """Denoised symbols of a flat array.

    Attributes:
        symbols: Row by row.
        loss: Sum of the estimated losses.
        contexts: Different contexts that were counted.
        covered: Number of symbols that have a complete context.
    """

    symbols: Symbols
    loss: LossSum
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
    counts = np.zeros(q ** (2 * k + 1), dtype=count_type(len(flat)))
    count_line(counts, flat, sizes, k, q)
    decisions, loss, contexts = best_rules(counts.reshape(-1, q), parts, kind)
    denoised = denoise_line(decisions.ravel(), flat, sizes, k, q)
    inner, ends = slice(k, len(flat) - k), np.cumsum(sizes)

    def uncovered() -> Iterator[NDArray[np.int64]]:
        yield np.concatenate([np.arange(inner.start), np.arange(inner.stop, len(flat))])
        for begin in () if len(sizes) == 1 else range(inner.start, inner.stop, _BLOCK):
            yield begin + np.flatnonzero(~_complete(sizes, ends, k, begin, min(_BLOCK, inner.stop - begin)))

    loss += settle_uncovered(denoised, flat, uncovered, parts, kind)
    return Counted(denoised, loss, contexts, int(np.maximum(sizes - 2 * k, 0).sum()))


def count_type(symbols: int) -> type[np.int32 | np.int64]:
    """Return the type of counts of so many symbols: the narrower, the more of them stay in the cache."""
    return np.int32 if symbols < 1 << 31 else np.int64


def count_line(counts: Counts, flat: Symbols, sizes: NDArray[np.int64], k: int, q: int) -> None:
    """Add symbols to the counts of all contexts along a line.

    Args:
        counts: A count for each context and symbol, flat.
        flat: Noisy symbols of some sequences.
        sizes: Lengths of the sequences.
        k: Symbols of the context on each side.
        q: Size of the alphabet.
    """
    ends, one = np.cumsum(sizes), counts.dtype.type(1)
    for begin, keys in line_keys(flat, k, q):
        complete = slice(None) if len(sizes) == 1 else _complete(sizes, ends, k, begin + k, len(keys))
        # Faster than ``bincount``, whose table is new memory each time.
        np.add.at(counts, keys[complete], one)


def denoise_line(rules: NDArray[np.int8], flat: Symbols, sizes: NDArray[np.int64], k: int, q: int) -> Symbols:
    """Return symbols by the rules of their contexts; those without a complete context as they are.

    Args:
        rules: The reconstruction for each context and symbol, flat.
        flat: Noisy symbols of some sequences.
        sizes: Lengths of the sequences.
        k: Symbols of the context on each side.
        q: Size of the alphabet.
    """
    rules, denoised, ends = rules.astype(flat.dtype, copy=False), np.empty_like(flat), np.cumsum(sizes)
    denoised[:k], denoised[max(0, len(flat) - k) :] = flat[:k], flat[max(0, len(flat) - k) :]
    for begin, keys in line_keys(flat, k, q):
        part = slice(begin + k, begin + k + len(keys))
        # Keys are in range; without the check of it nothing is copied twice.
        np.take(rules, keys, out=denoised[part], mode="clip")
        if len(sizes) > 1:
            np.copyto(denoised[part], flat[part], where=~_complete(sizes, ends, k, part.start, len(keys)))
    return denoised


def line_keys(flat: Symbols, k: int, q: int) -> Iterator[tuple[int, Keys]]:
    """Context and symbol as one number, block by block: the start of a block, counted from symbol k, and its numbers.

    Blocks are small enough to stay in the cache; the array is reused for the next block.
    """
    last = len(flat) - 2 * k
    buffer = np.empty(min(_BLOCK, max(last, 0)), dtype=np.int64)
    # The narrower the numbers, the more of them are handled at once.
    half, wide = np.min_scalar_type(q ** (k + 1) - 1), np.min_scalar_type(q ** (2 * k + 1) - 1)
    for begin in range(0, last, _BLOCK):
        width = min(last - begin, _BLOCK)
        block, keys = flat[begin : begin + width + 2 * k].astype(np.uint8, copy=False), buffer[:width]
        sides = _packed(block, k, q)
        after = sides[k + 1 :].astype(half)
        after *= half.type(q)
        after += block[k : k + width].astype(half, copy=False)
        whole = sides[:width].astype(wide)
        whole *= wide.type(q ** (k + 1))
        whole += after.astype(wide, copy=False)
        keys[:] = whole
        yield begin, keys


def _packed(block: NDArray[Any], width: int, q: int) -> NDArray[Any]:
    """All runs of ``width`` symbols as one number each, by doubling."""
    if width == 1:
        return block
    # The first part, and how many symbols are put behind it.
    more = 1 if width % 2 else width // 2
    first = _packed(block, width - more, q)
    second = block[width - 1 :] if more == 1 else first[more:]
    kind = np.min_scalar_type(q**width - 1)
    packed: NDArray[Any] = first[: len(second)].astype(kind)
    packed *= kind.type(q**more)
    packed += second.astype(kind, copy=False)
    return packed


def _complete(sizes: NDArray[np.int64], ends: NDArray[np.int64], k: int, begin: int, count: int) -> NDArray[np.bool_]:
    """Whether each of ``count`` symbols has a complete context."""
    first, last = np.searchsorted(ends, [begin, begin + count - 1], side="right")
    high = ends[first : last + 1] - begin
    low = np.clip(high - sizes[first : last + 1] + k, 0, count)
    high = np.clip(high - k, 0, count)
    some = low < high
    steps = np.zeros(count + 1, dtype=np.int8)
    steps[low[some]] = 1
    steps[high[some]] = -1
    return np.cumsum(steps[:-1], dtype=np.int8).view(np.bool_)


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
    counts = np.zeros(q ** (context.size + 1), dtype=count_type(noisy.size))
    one = counts.dtype.type(1)
    for _, keys in _plane_keys(plane, inner.shape, (up, left), context, q):
        np.add.at(counts, keys.ravel(), one)
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
    keys, covered = context_keys(noisy, context, q, lengths=lengths, pad=pad)
    if not isinstance(context, Context1d):
        # On a plane the sign beyond the edge is a part of the context.
        covered[:] = True
    denoised = flat.copy()
    denoised[covered], loss, contexts = _denoise_distinct(keys[covered], flat[covered], q, parts, kind)

    def uncovered() -> Iterator[NDArray[np.int64]]:
        for begin in range(0, len(flat), _BLOCK):
            yield begin + np.flatnonzero(~covered[begin : begin + _BLOCK])

    loss += settle_uncovered(denoised, flat, uncovered, parts, kind)
    return Counted(denoised, loss, contexts, int(covered.sum()))


def _denoise_distinct(
    keys: NDArray[np.generic], symbols: Symbols, q: int, parts: Numbers, kind: EstimateKind
) -> tuple[NDArray[np.int8], LossSum, int]:
    """Denoised symbols of contexts that differ in their keys, the loss, and the number of contexts."""
    if keys.dtype.kind == "V" or (len(keys) and int(keys.max()) > _LARGEST_JOINT // q):
        keys = np.unique(keys, return_inverse=True)[1].ravel()
    # Context and symbol as one number.
    joint = np.multiply(keys, q, dtype=np.int64)
    joint += symbols.astype(np.uint8)
    ordered = np.sort(joint)
    first = np.flatnonzero(_changing(ordered))
    pairs, counts = ordered[first], np.diff(first, append=len(ordered))
    del ordered, first
    contexts, letters = np.divmod(pairs, q)
    numbers = np.cumsum(_changing(contexts)) - 1
    decisions, loss = rules_of_pairs(numbers, letters, counts, parts, kind)
    denoised = np.empty(len(joint), dtype=np.int8)
    for begin in range(0, len(joint), _BLOCK):
        some = joint[begin : begin + _BLOCK]
        # Neighbours are looked up one after another.
        order = np.argsort(some)
        denoised[begin + order] = decisions[np.searchsorted(pairs, some[order])]
    return denoised, loss, int(numbers[-1]) + 1 if len(numbers) else 0


def _changing(ordered: Keys) -> NDArray[np.bool_]:
    """Whether each number differs from the one before."""
    changing = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=changing[1:])
    return changing
