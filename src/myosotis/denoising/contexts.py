"""Contexts: the symbols around a symbol, without the symbol itself."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Symbols
from myosotis.engine.errors import SettingsError

Offsets = NDArray[np.int64]
Indices = NDArray[np.int32] | NDArray[np.int64]
MAX_SYMBOLS = 126
"""Largest alphabet: a context holds a symbol, or the sign of an edge, in a byte."""
_BLOCK = 1 << 16

Pad = Literal["outside", "symbol0"]
"""What a context has beyond the edge: a sign of its own, or symbol 0 as in the released code."""


@dataclass(frozen=True)
class Context1d:
    """The ``half_width`` symbols before and after: the k of the papers, 2k symbols in all.

    Example:
        >>> Context1d(2).offsets[:, 0].tolist()
        [-2, -1, 1, 2]
    """

    half_width: int

    def __post_init__(self) -> None:
        if self.half_width < 1:
            raise SettingsError(f"a context needs a half-width of at least 1, got {self.half_width}")

    @cached_property
    def offsets(self) -> Offsets:
        """Offsets of its symbols, (symbols, 1)."""
        k = self.half_width
        return np.array([offset for offset in range(-k, k + 1) if offset], dtype=np.int64)[:, None]

    @property
    def size(self) -> int:
        """Number of symbols."""
        return 2 * self.half_width


@dataclass(frozen=True)
class Context2d:
    """The nearest neighbours on a plane: ordered by distance, then by vertical distance, then by position.

    Smaller contexts are parts of larger ones.

    Example:
        >>> Context2d(4).offsets.tolist()
        [[0, -1], [0, 1], [-1, 0], [1, 0]]
    """

    neighbours: int

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise SettingsError(f"a context needs at least one neighbour, got {self.neighbours}")

    @cached_property
    def offsets(self) -> Offsets:
        """Offsets of its symbols, (symbols, 2): rows down, columns to the right."""
        # The nearest n lie in a disc of a radius near sqrt(n / pi), well inside.
        reach = math.isqrt(self.neighbours) + 1
        every = [
            (dy * dy + dx * dx, abs(dy), dy, dx)
            for dy in range(-reach, reach + 1)
            for dx in range(-reach, reach + 1)
            if (dy, dx) != (0, 0)
        ]
        return np.array([(dy, dx) for _, _, dy, dx in sorted(every)[: self.neighbours]], dtype=np.int64)

    @property
    def size(self) -> int:
        """Number of symbols."""
        return self.neighbours


Context = Context1d | Context2d


@dataclass(frozen=True)
class Runs:
    """Runs of symbols that stand together: sequences, or rows of a plane.

    Attributes:
        ends: Index after the last symbol of each run.
        shifts: Distance from the index of a symbol to its position among padded symbols.
        first: Index of the first symbol of each run with a complete context.
        last: Index after the last one; none is complete where it is not above ``first``.
    """

    ends: NDArray[np.int64]
    shifts: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of the run of each symbol."""
        if len(self.ends) == 1:
            return np.zeros(1, dtype=np.int64)
        return np.searchsorted(self.ends, indices, side="right")


@dataclass(frozen=True)
class Field:
    """Noisy symbols with an edge around them, so that every context can be read by adding offsets to a position.

    Positions are worked out where contexts are read: those of all symbols take eight times their memory.

    Attributes:
        padded: Flat symbols with edges; ``outside`` beyond an edge.
        steps: Offsets of the context, to be added to a position.
        outside: Sign beyond an edge.
        runs: Runs of the symbols.
        chosen: Indices of the symbols whose contexts these are.
    """

    padded: NDArray[np.int8]
    steps: NDArray[np.int64]
    outside: int
    runs: Runs
    chosen: Indices | range

    def __len__(self) -> int:
        """Return the number of contexts."""
        return len(self.chosen)

    def positions(self, chosen: Indices | slice = slice(None)) -> NDArray[np.int64]:
        """Return the positions of chosen symbols in ``padded``."""
        indices = self._indices(chosen)
        return indices + self.runs.shifts[self.runs.of(indices)]

    def complete(self, chosen: Indices | slice = slice(None)) -> NDArray[np.bool_]:
        """Return whether each of chosen symbols has a complete context."""
        indices = self._indices(chosen)
        runs = self.runs.of(indices)
        return np.asarray((indices >= self.runs.first[runs]) & (indices < self.runs.last[runs]))

    def windows(self, chosen: Indices | slice = slice(None)) -> NDArray[np.int8]:
        """Return the contexts of chosen symbols, (symbols, size)."""
        return np.asarray(self.padded[self.positions(chosen)[:, None] + self.steps])

    def part(self, chosen: Indices | slice) -> "Field":
        """Return the contexts of chosen symbols alone."""
        if isinstance(chosen, slice):
            return replace(self, chosen=self.chosen[chosen])
        # Not widened: they may come in four bytes each.
        if isinstance(self.chosen, range):
            return replace(self, chosen=chosen + self.chosen.start if self.chosen.start else chosen)
        return replace(self, chosen=self.chosen[chosen])

    def _indices(self, chosen: Indices | slice) -> NDArray[np.int64]:
        if not isinstance(self.chosen, range):
            return self.chosen[chosen].astype(np.int64, copy=False)
        if isinstance(chosen, slice):
            some = self.chosen[chosen]
            return np.arange(some.start, some.stop)
        return chosen.astype(np.int64, copy=False) + self.chosen.start


def make_field(
    noisy: Symbols,
    context: Context,
    alphabet: int,
    *,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
    width: int = 0,
    chosen: Indices | None = None,
) -> Field:
    """Return symbols ready for reading contexts.

    Args:
        noisy: (n,) for a context along a line, (height, width) for one on a plane.
        context: Shape of the context.
        alphabet: Size of the alphabet, at most 126.
        lengths: Lengths of sequences that stand one after another; contexts do not reach from one into another.
        pad: What a context has beyond the edge.
        width: Smallest number of columns of a plane, so that the steps of several planes are the same.
        chosen: The symbols whose contexts are read, counted row by row; all of them unless given.

    Raises:
        SettingsError: Dimensions and context do not fit, or lengths do not add up.
    """
    outside = alphabet if pad == "outside" else 0
    check_alphabet(alphabet)
    if isinstance(context, Context1d):
        if noisy.ndim != 1:
            raise SettingsError(f"a context along a line needs symbols in one dimension, got {noisy.ndim}")
        sizes = check_lengths(len(noisy), lengths)
        k = context.half_width
        ends = np.cumsum(sizes)
        starts = ends - sizes
        # One edge of k between two sequences serves both.
        runs = Runs(ends, k * np.arange(1, len(sizes) + 1), starts + k, ends - k)
        padded = np.full(len(noisy) + k * (len(sizes) + 1), outside, dtype=np.int8)
        field = Field(padded, context.offsets[:, 0], outside, runs, range(len(noisy)))
        for begin in range(0, len(noisy), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            padded[field.positions(part)] = noisy[part]
        return field if chosen is None else field.part(chosen)
    if noisy.ndim != 2 or lengths is not None:
        raise SettingsError(f"a context on a plane needs symbols in two dimensions, got {noisy.ndim}")
    reach = int(np.abs(context.offsets).max())
    height, own = noisy.shape
    plane = np.full((height + 2 * reach, max(width, own) + 2 * reach), outside, dtype=np.int8)
    plane[reach : reach + height, reach : reach + own] = noisy
    rows = np.arange(height)
    steps = context.offsets[:, 0] * plane.shape[1] + context.offsets[:, 1]
    (up, left), (down, right) = context.offsets.min(axis=0), context.offsets.max(axis=0)
    whole = (rows + up >= 0) & (rows + down < height)
    first, last = np.where(whole, rows * own + max(0, -left), 0), np.where(whole, (rows + 1) * own - max(0, right), 0)
    shifts = (rows + reach) * plane.shape[1] + reach - rows * own
    runs = Runs((rows + 1) * own, shifts, first, last)
    return Field(plane.ravel(), steps, outside, runs, range(noisy.size) if chosen is None else chosen)


def pieces(
    noisy: Symbols,
    context: Context,
    alphabet: int,
    *,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
    size: int = 1 << 20,
) -> Iterator[tuple[int, int, Field]]:
    """Cut symbols into pieces of about ``size`` whose contexts are those of the whole, so that memory stays bounded.

    Args:
        noisy: Symbols as for :func:`make_field`.
        context: Shape of the context.
        alphabet: Size of the alphabet.
        lengths: Lengths of sequences that stand one after another.
        pad: What a context has beyond the edge.
        size: Symbols in a piece; a sequence of a list is never cut.

    Yields:
        Begin and end of a piece, counted in symbols row by row, and its contexts.
    """
    if noisy.ndim != (2 if isinstance(context, Context2d) else 1):
        # Raises the error.
        make_field(noisy, context, alphabet, lengths=lengths, pad=pad)
    if isinstance(context, Context2d):
        reach = int(np.abs(context.offsets).max())
        height, width = noisy.shape
        rows = max(1, size // width)
        for top in range(0, height, rows):
            low, high = max(0, top - reach), min(height, top + rows + reach)
            field = make_field(noisy[low:high], context, alphabet, pad=pad)
            bottom = min(height, top + rows)
            yield top * width, bottom * width, field.part(slice((top - low) * width, (bottom - low) * width))
        return
    if lengths is None:
        k = context.half_width
        for begin in range(0, len(noisy), size):
            end = min(len(noisy), begin + size)
            low, high = max(0, begin - k), min(len(noisy), end + k)
            field = make_field(noisy[low:high], context, alphabet, pad=pad)
            yield begin, end, field.part(slice(begin - low, end - low))
        return
    sizes = check_lengths(len(noisy), lengths)
    ends = np.cumsum(sizes)
    first, begin = 0, 0
    while first < len(sizes):
        last = max(first + 1, int(np.searchsorted(ends, begin + size, side="right")))
        end = int(ends[last - 1])
        yield begin, end, make_field(noisy[begin:end], context, alphabet, lengths=sizes[first:last].tolist(), pad=pad)
        first, begin = last, end


def check_alphabet(symbols: int) -> None:
    """Raise ``SettingsError`` where an alphabet has too many symbols."""
    if symbols > MAX_SYMBOLS:
        raise SettingsError(f"alphabets have at most {MAX_SYMBOLS} symbols, got {symbols}")


def check_lengths(count: int, lengths: Sequence[int] | None) -> NDArray[np.int64]:
    """Return the lengths of sequences that stand one after another; one sequence unless given.

    Raises:
        SettingsError: They are not positive, or do not add up.
    """
    sizes = np.array([count] if lengths is None else lengths, dtype=np.int64)
    if not len(sizes) or sizes.min() < 1 or sizes.sum() != count:
        raise SettingsError(f"lengths must be positive and add up to {count} symbols, they add up to {sizes.sum()}")
    return sizes
