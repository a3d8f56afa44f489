"""The noise: a memoryless channel that turns each clean symbol into a noisy one with known probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from myosotis.engine.errors import InputError, SettingsError, settings_as_input

Numbers = NDArray[np.float64]
Symbols = NDArray[Any]

WORST_CONDITION = 1e3
"""Largest condition number: worse channels carry too little information."""

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Channel:
    """Probabilities ``matrix[x, z]`` that the clean symbol x is seen as z; rows sum to one.

    Args:
        matrix: (clean symbols, noisy symbols); at least as many of the latter.

    Raises:
        SettingsError: It is not a channel, or its condition number is so large that estimates would be useless.

    Example:
        >>> Channel([[0.9, 0.1], [0.2, 0.8]]).inverse.round(3).tolist()
        [[1.143, -0.143], [-0.286, 1.286]]
    """

    matrix: Numbers

    def __init__(self, matrix: ArrayLike) -> None:
        try:
            table = np.array(matrix, dtype=np.float64)
        except (TypeError, ValueError):
            raise SettingsError("a channel is a table of numbers, with rows of equal length") from None
        if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < table.shape[0]:
            raise SettingsError(
                "a channel needs one row per clean symbol, at least two, and at least as many columns; got "
                f"{table.shape}"
            )
        if not np.isfinite(table).all() or (table < 0).any():
            raise SettingsError("the probabilities of a channel must not be negative")
        sums = table.sum(axis=1)
        wrong = np.flatnonzero(np.abs(sums - 1) > _SUM_TOLERANCE)
        if len(wrong):
            raise SettingsError(f"row {wrong[0] + 1} of the channel sums to {sums[wrong[0]]:g}, not to 1")
        table /= sums[:, None]
        table.flags.writeable = False
        object.__setattr__(self, "matrix", table)
        if self.condition > WORST_CONDITION:
            raise SettingsError(
                f"the channel has the condition number {self.condition:.3g}, above {WORST_CONDITION:g}: noisy "
                "symbols carry almost no information about clean ones"
            )

    @classmethod
    def binary_symmetric(cls, rate: float) -> "Channel":
        """Return the channel that flips a bit with probability ``rate``, below one half.

        Example:
            >>> Channel.binary_symmetric(0.1).matrix.tolist()
            [[0.9, 0.1], [0.1, 0.9]]
        """
        return cls.symmetric(2, rate)

    @classmethod
    def symmetric(cls, symbols: int, rate: float) -> "Channel":
        """Return the channel that replaces a symbol with probability ``rate``, by each of the others equally.

        Raises:
            SettingsError: The rate is not in [0, 1 - 1 / symbols), where a noisy symbol is evidence of the clean one.
        """
        if symbols < 2:
            raise SettingsError(f"an alphabet needs at least two symbols, got {symbols}")
        if not 0 <= rate < 1 - 1 / symbols:
            raise SettingsError(f"a rate must be in [0, {1 - 1 / symbols:g}) for {symbols} symbols, got {rate}")
        table = np.full((symbols, symbols), rate / (symbols - 1))
        np.fill_diagonal(table, 1 - rate)
        return cls(table)

    @classmethod
    def from_pairs(cls, clean: Symbols, noisy: Symbols, symbols: int) -> "Channel":
        """Return the channel that a clean and a noisy sequence show: relative counts.

        Args:
            clean: Whole numbers from 0.
            noisy: Noisy symbols of the same length.
            symbols: Size of the alphabet.

        Raises:
            SettingsError: A clean symbol never occurs, or the counts make no channel.
        """
        counts = np.bincount(clean.ravel().astype(np.int64) * symbols + noisy.ravel(), minlength=symbols**2)
        table = counts.reshape(symbols, symbols).astype(np.float64)
        missing = np.flatnonzero(table.sum(axis=1) == 0)
        if len(missing):
            raise SettingsError(f"symbol {missing[0]} never occurs in the clean sequence")
        return cls(table / table.sum(axis=1, keepdims=True))

    @property
    def inputs(self) -> int:
        """Clean symbols."""
        return int(self.matrix.shape[0])

    @property
    def outputs(self) -> int:
        """Noisy symbols."""
        return int(self.matrix.shape[1])

    @cached_property
    def condition(self) -> float:
        """Ratio of the largest to the smallest singular value."""
        return float(np.linalg.cond(self.matrix))

    @cached_property
    def inverse(self) -> Numbers:
        """The right inverse of least norm, (noisy symbols, clean symbols): ``matrix @ inverse`` is the identity."""
        return np.asarray(np.linalg.pinv(self.matrix), dtype=np.float64)

    def corrupt(self, clean: Symbols, draws: np.random.Generator) -> Symbols:
        """Return noisy symbols of clean ones.

        Args:
            clean: Whole numbers from 0, of any shape.
            draws: Source of all randomness.

        Example:
            >>> Channel.binary_symmetric(0.0).corrupt(np.array([0, 1, 1]), np.random.default_rng(0)).tolist()
            [0, 1, 1]
        """
        steps = self.matrix.cumsum(axis=1)[:, :-1]
        drawn = draws.random(clean.shape)
        noisy = np.zeros(clean.shape, dtype=clean.dtype)
        for step in range(self.outputs - 1):
            noisy += drawn >= steps[clean, step]
        return noisy


def read_channel(path: Path) -> Channel:
    """Read a channel from a text file: a row for each clean symbol, probabilities apart by blanks or commas.

    Lines that begin with ``#`` are remarks.

    Raises:
        InputError: The file is missing or is no channel.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    rows: list[list[float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text") from None
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            rows.append([float(word) for word in words])
        except ValueError:
            raise InputError(f"{path}, line {number}: expected numbers, got {line.strip()[:40]!r}") from None
    if not rows:
        raise InputError(f"{path}: holds no numbers")
    with settings_as_input(str(path)):
        return Channel(rows)


def check_symbols(symbols: Symbols, count: int, names: Sequence[str] | None = None) -> None:
    """Raise ``SettingsError`` with the position of the first symbol outside the alphabet.

    Args:
        symbols: Whole numbers, of any shape.
        count: Size of the alphabet.
        names: Names of the symbols.
    """
    if symbols.dtype.kind not in "iub":
        raise SettingsError(f"symbols must be whole numbers, got {symbols.dtype}")
    if not symbols.size:
        raise SettingsError("no symbols given")
    if int(symbols.min()) >= 0 and int(symbols.max()) < count:
        return
    index = int(np.flatnonzero(((symbols < 0) | (symbols >= count)).ravel())[0])
    where = tuple(int(part) for part in np.unravel_index(index, symbols.shape))
    expected = ", ".join(names) if names else f"0 to {count - 1}"
    position = where[0] if len(where) == 1 else where
    raise SettingsError(f"symbol {int(symbols.ravel()[index])} at position {position} is not among {expected}")
