"""Plain text, a symbol a letter, and arrays of whole numbers."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import MOST_SYMBOLS
from myosotis.denoising.files.output import written
from myosotis.engine.errors import InputError

_MARK = "\ufeff"
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNKNOWN, _LINE_FEED = 255, 254  # beyond the symbols of any alphabet
_PART = 2**20  # letters looked at together


@dataclass(frozen=True)
class SymbolFile:
    """Symbols and the format of their file.

    Attributes:
        symbols: Along a line, or on a plane where an array has two dimensions.
        names: Names of the symbols, in order.
        lines: Lengths of the lines of a text; None for an array.
        ends: End of each line: a line feed, a carriage return, both, or nothing at the end of the text.
        mark: The byte order mark that the text begins with, or nothing.
    """

    symbols: Symbols
    names: tuple[str, ...]
    lines: list[int] | None
    ends: tuple[str, ...] = ()
    mark: str = ""

    @property
    def lengths(self) -> list[int] | None:
        """Lengths of the sequences: the lines that are not empty."""
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
        with path.open(encoding="utf-8", newline="") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: is not text") from None
    mark = _MARK if text.startswith(_MARK) else ""
    text = text[len(mark) :]
    lines, ends = _lines(text)
    if not sum(lines):
        raise InputError(f"{path}: holds no symbols")
    names = tuple(alphabet) if alphabet else tuple(sorted(set(text) - {"\r", "\n"}))
    if len(names) > MOST_SYMBOLS:
        raise InputError(f"{path}: has {len(names)} different letters; alphabets have at most {MOST_SYMBOLS}")
    if len(set(names)) < max(2, len(names)):
        raise InputError(f"an alphabet needs at least two different letters, got {''.join(names)!r}")
    return SymbolFile(_numbers(text, names, path), names, lines, ends, mark)


def _lines(text: str) -> tuple[list[int], tuple[str, ...]]:
    """Lengths of the lines, and what each ends with; a line feed, a carriage return or both end one, nothing else."""
    lengths, ends, begin = list[int](), list[str](), 0
    for match in _LINE_END.finditer(text):
        lengths.append(match.start() - begin)
        ends.append(sys.intern(match.group()))
        begin = match.end()
    if begin < len(text):
        lengths.append(len(text) - begin)
        ends.append("")
    return lengths, tuple(ends)


def _numbers(text: str, names: tuple[str, ...], path: Path) -> Symbols:
    """The letters as numbers; in parts, as numbers of characters take four bytes each."""
    table = np.full(sys.maxunicode + 1, _UNKNOWN, dtype=np.uint8)
    table[[ord(name) for name in names]] = np.arange(len(names))
    table[[ord("\r"), ord("\n")]] = _LINE_FEED
    parts = []
    for begin in range(0, len(text), _PART):
        codes = table[np.frombuffer(text[begin : begin + _PART].encode("utf-32-le"), dtype="<u4")]
        wrong = np.flatnonzero(codes == _UNKNOWN)
        if len(wrong):
            raise InputError(_unknown_letter(text, begin + int(wrong[0]), names, path))
        parts.append(codes[codes != _LINE_FEED])
    return np.concatenate(parts)


def _unknown_letter(text: str, index: int, names: tuple[str, ...], path: Path) -> str:
    ends = list(_LINE_END.finditer(text, 0, index))
    column = index - (ends[-1].end() if ends else 0) + 1
    return f"{path}, line {len(ends) + 1}, position {column}: {text[index]!r} is not in the alphabet {''.join(names)!r}"


def _read_array(path: Path, alphabet: str | None) -> SymbolFile:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise InputError(f"{path}: not a readable .npy array") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise InputError(f"{path}: expected whole numbers along a line or on a plane")
    count = len(alphabet) if alphabet else int(array.max()) + 1
    if count > MOST_SYMBOLS:
        raise InputError(f"{path}: has symbols up to {count - 1}; alphabets have at most {MOST_SYMBOLS} of them")
    wrong = np.argwhere((array < 0) | (array >= count))
    if len(wrong):
        position = tuple(int(index) for index in wrong[0])
        raise InputError(f"{path}: symbol {array[position]} at position {position} is not among 0 to {count - 1}")
    if count < 2:
        raise InputError(f"{path}: holds one symbol only; --alphabet names all that may occur")
    return SymbolFile(array, tuple(alphabet or map(str, range(count))), None)


def write_symbols(path: Path, symbols: Symbols, like: SymbolFile) -> None:
    """Write symbols in the format of another file."""
    with written(path) as staged:
        if like.lines is None:
            with staged.open("wb") as stream:
                np.save(stream, symbols, allow_pickle=False)
            return
        codes = np.array([ord(name) for name in like.names], dtype="<u4")
        parts = (symbols[begin : begin + _PART] for begin in range(0, len(symbols), _PART))
        letters = "".join(codes[part].tobytes().decode("utf-32-le") for part in parts)
        with staged.open("w", encoding="utf-8", newline="") as out:
            out.write(like.mark)
            begin = 0
            for length, end in zip(like.lines, like.ends, strict=True):
                out.write(letters[begin : begin + length])
                out.write(end)
                begin += length
