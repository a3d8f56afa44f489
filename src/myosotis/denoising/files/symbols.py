"""Plain text, a symbol a letter, and arrays of whole numbers."""

import array
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from myosotis.data.array_files import read_npy
from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import MAX_SYMBOLS
from myosotis.denoising.files.output import written
from myosotis.engine.errors import InputError

_MARK = "\ufeff"
_LINE_END = re.compile(r"\r\n|\r|\n")
_ENDS = ("\n", "\r\n", "\r", "")
_UNKNOWN, _LINE_FEED, _TOO_MANY = 255, 254, 253  # beyond the symbols of any alphabet
_PART = 2**18  # letters handled together; their numbers take many bytes each


@dataclass(frozen=True)
class SymbolFile:
    """Symbols and the format of their file.

    Attributes:
        symbols: Along a line, or on a plane where an array has two dimensions.
        names: Names of the symbols, in order.
        lines: Lengths of the lines of a text; None for an array.
        ends: End of each line, as an index of a line feed, both, a carriage return, or nothing at the end of the text.
        mark: The byte order mark that the text begins with, or nothing.
    """

    symbols: Symbols
    names: tuple[str, ...]
    lines: Sequence[int] | None
    ends: bytes = b""
    mark: str = ""

    @property
    def lengths(self) -> Sequence[int] | None:
        """Lengths of the sequences: the lines that are not empty."""
        return None if self.lines is None else array.array("q", filter(None, self.lines))


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
    names = tuple(alphabet or "")
    if alphabet and len(set(names)) < max(2, len(names)):
        raise InputError(f"an alphabet needs at least two different letters, got {alphabet!r}")
    if len(names) > MAX_SYMBOLS:
        raise InputError(f"{path}: has {len(names)} different letters; alphabets have at most {MAX_SYMBOLS}")
    reader = _TextReader(path, names)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader.read(stream)
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: is not text") from None
    return reader.content()


class _TextReader:
    """Letters as numbers, a part of the text at a time: beside a byte for each nothing is as long as the text.

    Without an alphabet letters are numbered as they come, and sorted at the end.

    Args:
        path: The file, for errors.
        names: The alphabet; empty: the letters that occur.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path, self._given, self._names = path, bool(names), list(names)
        self._table = np.full(sys.maxunicode + 1, _UNKNOWN, dtype=np.uint8)
        self._table[[ord(name) for name in names]] = np.arange(len(names))
        self._table[[ord("\r"), ord("\n")]] = _LINE_FEED
        self._symbols, self._lines, self._ends = bytearray(), array.array("q"), bytearray()
        self._mark, self._open = "", 0  # the mark, and the letters of a line that has not ended

    def read(self, stream: TextIO) -> None:
        """Read a text to its end."""
        first = stream.read(1)
        if first == _MARK:
            self._mark, first = first, ""
        while part := first + stream.read(_PART):
            # Both halves of a line end belong together.
            while part[-1] == "\r" and (more := stream.read(1)):
                part += more
            self._take(part)
            first = ""
        if self._open:
            self._end_line(self._open, "")

    def content(self) -> SymbolFile:
        """Return what was read."""
        path, names = self._path, self._names
        if not self._symbols:
            raise InputError(f"{path}: holds no symbols")
        if len(names) > MAX_SYMBOLS:
            raise InputError(f"{path}: has {len(names)} different letters; alphabets have at most {MAX_SYMBOLS}")
        if len(names) < 2:
            raise InputError(f"an alphabet needs at least two different letters, got {names[0]!r}")
        symbols = np.frombuffer(self._symbols, dtype=np.uint8)
        if not self._given:
            ranks = np.argsort(np.argsort([ord(name) for name in names])).astype(np.uint8)
            for begin in range(0, len(symbols), _PART):
                symbols[begin : begin + _PART] = ranks[symbols[begin : begin + _PART]]
            names = sorted(names)
        return SymbolFile(symbols, tuple(names), self._lines, bytes(self._ends), self._mark)

    def _take(self, part: str) -> None:
        letters = np.frombuffer(part.encode("utf-32-le"), dtype="<u4")
        codes = self._table[letters]
        unknown = np.flatnonzero(codes == _UNKNOWN)
        if len(unknown):
            if self._given:
                raise InputError(self._unknown_letter(part, int(unknown[0])))
            for letter in np.unique(letters[unknown]).tolist():
                self._table[letter] = min(len(self._names), _TOO_MANY)
                self._names.append(chr(letter))
            codes = self._table[letters]
        self._symbols += codes[codes != _LINE_FEED].tobytes()
        begin = 0
        for match in _LINE_END.finditer(part):
            self._end_line(self._open + match.start() - begin, match.group())
            begin = match.end()
        self._open += len(part) - begin

    def _end_line(self, length: int, end: str) -> None:
        self._lines.append(length)
        self._ends.append(_ENDS.index(end))
        self._open = 0

    def _unknown_letter(self, part: str, index: int) -> str:
        ends = list(_LINE_END.finditer(part, 0, index))
        column = (index - ends[-1].end() if ends else self._open + index) + 1
        return (
            f"{self._path}, line {len(self._lines) + len(ends) + 1}, position {column}: {part[index]!r} is not in the "
            f"alphabet {''.join(self._names)!r}"
        )


def _read_array(path: Path, alphabet: str | None) -> SymbolFile:
    array = read_npy(path)
    if array.dtype.kind not in "iu" or array.ndim not in (1, 2) or not array.size:
        raise InputError(f"{path}: expected whole numbers along a line or on a plane")
    count = len(alphabet) if alphabet else int(array.max()) + 1
    if count > MAX_SYMBOLS:
        raise InputError(f"{path}: has symbols up to {count - 1}; alphabets have at most {MAX_SYMBOLS} of them")
    if array.min() < 0 or array.max() >= count:
        wrong = np.argwhere((array < 0) | (array >= count))
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
        parts = (
            codes[symbols[begin : begin + _PART]].tobytes().decode("utf-32-le")
            for begin in range(0, len(symbols), _PART)
        )
        with staged.open("w", encoding="utf-8", newline="") as out:
            out.write(like.mark)
            letters, begin = "", 0
            for length, end in zip(like.lines, like.ends, strict=True):
                left = length
                while left:
                    if begin == len(letters):
                        letters, begin = next(parts), 0
                    some = letters[begin : begin + left]
                    out.write(some)
                    begin, left = begin + len(some), left - len(some)
                out.write(_ENDS[end])
