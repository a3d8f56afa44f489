"""Plain text, a symbol a letter, and arrays of whole numbers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import MOST_SYMBOLS
from myosotis.denoising.files.place import written
from myosotis.engine.errors import InputError


@dataclass(frozen=True)
class SymbolFile:
    """Symbols and what they were written as.

    Attributes:
        symbols: Along a line, or on a plane where an array has two dimensions.
        names: Of the symbols, in order.
        lines: Lengths of the lines of a text; None for an array.
    """

    symbols: Symbols
    names: tuple[str, ...]
    lines: list[int] | None

    @property
    def lengths(self) -> list[int] | None:
        """Of the sequences: the lines that are not empty."""
        return None if self.lines is None else [length for length in self.lines if length]


def read_symbols(path: Path, alphabet: str | None = None) -> SymbolFile:
    """Read a text, whose lines are sequences, or an ``.npy`` file.

    Args:
        path: The file.
        alphabet: The letters that may occur, in the order of the channel's rows; of a text those that occur, sorted,
            unless given; of an array the numbers from 0 to the largest.

    Raises:
        InputError: It is damaged, or holds a symbol outside the alphabet.
    """
    if path.suffix == ".npy":
        return _read_array(path, alphabet)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: is not text") from None
    whole = "".join(lines)
    if not whole:
        raise InputError(f"{path}: holds no symbols")
    names = tuple(alphabet) if alphabet else tuple(sorted(set(whole)))
    if len(names) > MOST_SYMBOLS:
        raise InputError(f"{path}: has {len(names)} different letters; alphabets have at most {MOST_SYMBOLS}")
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"an alphabet needs two different letters at least, got {''.join(names)!r}")
    numbers = {name: number for number, name in enumerate(names)}
    for row, line in enumerate(lines, start=1):
        for column, letter in enumerate(line, start=1):
            if letter not in numbers:
                told = "".join(names)
                raise InputError(f"{path}, line {row}, position {column}: {letter!r} is not in the alphabet {told!r}")
    symbols = np.array([numbers[letter] for letter in whole], dtype=np.uint8)
    return SymbolFile(symbols, names, [len(line) for line in lines])


def _read_array(path: Path, alphabet: str | None) -> SymbolFile:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path}: is no array that can be read") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise InputError(f"{path}: expected whole numbers along a line or on a plane")
    count = len(alphabet) if alphabet else int(array.max()) + 1
    if count > MOST_SYMBOLS:
        raise InputError(f"{path}: has symbols up to {count - 1}; alphabets have at most {MOST_SYMBOLS} of them")
    wrong = np.argwhere((array < 0) | (array >= count))
    if len(wrong):
        place = tuple(int(one) for one in wrong[0])
        raise InputError(f"{path}: symbol {array[place]} at position {place} is not among 0 to {count - 1}")
    if count < 2:
        raise InputError(f"{path}: holds one symbol only; --alphabet names all that may occur")
    return SymbolFile(array, tuple(alphabet or map(str, range(count))), None)


def write_symbols(path: Path, symbols: Symbols, like: SymbolFile) -> None:
    """Write symbols as another file has them."""
    with written(path) as staged:
        if like.lines is None:
            with staged.open("wb") as stream:
                np.save(stream, symbols, allow_pickle=False)
            return
        letters = "".join(like.names[number] for number in symbols.tolist())
        lines, begin = list[str](), 0
        for length in like.lines:
            lines.append(letters[begin : begin + length])
            begin += length
        staged.write_text("\n".join(lines) + "\n", encoding="utf-8")
