"""DNA: FASTA and FASTQ, plain or compressed; files are read part by part, as often as needed."""

import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.files.output import written
from myosotis.engine.errors import InputError
from myosotis.engine.extras import require

BASES = "ACGT"
"""The symbols, in this order."""

_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_COMPRESSION = 1
_UNKNOWN = 4
_WRONG = 255
_CODES = np.full(256, _WRONG, dtype=np.uint8)
for _number, _base in enumerate(BASES):
    _CODES[ord(_base)] = _CODES[ord(_base.lower())] = _number
_CODES[ord("N")] = _CODES[ord("n")] = _UNKNOWN
_LETTERS = np.frombuffer(BASES.encode(), dtype=np.uint8)
_CASE = 32
_PART = 1 << 20  # letters handled together


@dataclass(frozen=True)
class ReadPart:
    """Some sequences of a file.

    Attributes:
        codes: Letters one after another as numbers: the bases, and one more for N.
        sizes: Letters of each sequence.
        qualities: Whether there are qualities: FASTQ.
    """

    codes: NDArray[np.uint8]
    sizes: NDArray[np.int64]
    qualities: bool

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Whether each letter is a base."""
        return np.asarray(self.codes != _UNKNOWN)

    @property
    def symbols(self) -> NDArray[np.uint8]:
        """Known bases, one sequence after another."""
        return self.codes[self.known]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Lengths of the stretches that contexts stay in: sequences, cut at every N."""
        cut = np.ones(len(self.codes) + 1, dtype=bool)
        cut[1:-1] = False
        cut[np.cumsum(self.sizes)] = True
        known = np.concatenate([[False], self.known, [False]])
        first = np.flatnonzero(known[1:-1] & (cut[:-1] | ~known[:-2]))
        last = np.flatnonzero(known[1:-1] & (cut[1:] | ~known[2:]))
        return last - first + 1


@dataclass(frozen=True)
class Reads:
    """Sequences of bases in a file.

    Attributes:
        path: The file.
        qualities: Whether there are qualities: FASTQ.
        sequences: Number of sequences.
        bases: Number of known bases.
        unknown: Number of N.
        longest: Length of the longest stretch that contexts stay in.
    """

    path: Path
    qualities: bool
    sequences: int
    bases: int
    unknown: int
    longest: int

    def parts(self) -> Iterator[ReadPart]:
        """Read the sequences, about a million letters at a time."""
        return _parts(self.path)

    def load(self) -> tuple[NDArray[np.uint8], list[int]]:
        """Return all known bases, one sequence after another, and the lengths of what contexts stay in."""
        symbols, lengths, end = np.empty(self.bases, dtype=np.uint8), list[int](), 0
        for part in self.parts():
            some = part.symbols
            symbols[end : end + len(some)] = some
            lengths += part.lengths.tolist()
            end += len(some)
        return symbols, lengths


def read_reads(path: Path) -> Reads:
    """Read sequences to their end and check them. An N is no symbol: it stays, and no context reaches over it.

    Raises:
        InputError: The file is missing, damaged or cut off, empty, or holds other letters.
    """
    require("dna", "denoising of DNA")
    sequences, bases, letters, longest, qualities = 0, 0, 0, 0, False
    for part in _parts(path):
        qualities = part.qualities
        sequences += len(part.sizes)
        letters += len(part.codes)
        bases += int(np.count_nonzero(part.known))
        longest = max(longest, int(part.lengths.max(initial=0)))
    if not letters:
        raise InputError(f"{path}: holds no bases")
    if not bases:
        raise InputError(f"{path}: holds no bases but N")
    return Reads(path, qualities, sequences, bases, letters - bases, longest)


def _parts(path: Path) -> Iterator[ReadPart]:
    """The sequences of a file, about a million letters at a time."""
    import dnaio

    # Of damaged files, plain or compressed.
    unreadable = (dnaio.FileFormatError, dnaio.UnknownFileFormat, OSError, EOFError, ValueError, zlib.error)
    try:
        with dnaio.open(path) as content:
            records, letters = list[Any](), 0
            for record in content:
                records.append(record)
                letters += len(record.sequence)
                if letters >= _PART:
                    yield _part(path, records, qualities=content.delivers_qualities)
                    records, letters = [], 0
            yield _part(path, records, qualities=content.delivers_qualities)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except unreadable as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as FASTA or FASTQ, or is cut off: {first}") from None


def _part(path: Path, records: Sequence[Any], *, qualities: bool) -> ReadPart:
    sizes = np.array([len(record.sequence) for record in records], dtype=np.int64)
    letters = "".join([record.sequence for record in records]).encode("ascii", "replace")
    codes = _CODES[np.frombuffer(letters, dtype=np.uint8)]
    wrong = np.flatnonzero(codes == _WRONG)
    if len(wrong):
        ends = np.cumsum(sizes)
        number = int(np.searchsorted(ends, wrong[0], side="right"))
        record, index = records[number], int(wrong[0] - ends[number] + sizes[number])
        raise InputError(
            f"{path}: {record.name.split()[0] if record.name.split() else 'a record'} has "
            f"{record.sequence[index]!r} at position {index + 1}; expected A, C, G, T or N"
        )
    return ReadPart(codes, sizes, qualities)


def _text_lines(like: Reads) -> Iterator[str]:
    """The lines with their ends, every byte a character. As for dnaio, a lone carriage return ends none of FASTQ."""
    from xopen import xopen

    with xopen(like.path, "rb") as content:
        yield from io.TextIOWrapper(content, encoding="latin-1", newline="\n" if like.qualities else "")


def check_reads_suffix(path: Path, like: Reads) -> None:
    """Raise ``InputError`` where the name of a file is that of the other format."""
    name = path.name.lower()
    for suffix in _COMPRESSIONS:
        name = name.removesuffix(suffix)
    wrong = (".fasta", ".fa", ".fna") if like.qualities else (".fastq", ".fq")
    if name.endswith(wrong):
        raise InputError(
            f"{path}: the result is {'FASTQ' if like.qualities else 'FASTA'}, as the input; use its suffix"
        )


def write_reads(path: Path, symbols: Iterable[NDArray[np.uint8]], like: Reads) -> None:
    """Write sequences with other bases: names, comments, qualities, N, small letters and the ends of lines stay.

    It is compressed where its name ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``.

    Args:
        path: The file to write.
        symbols: Known bases, one sequence after another, in parts of any size.
        like: The sequences; their file is read again.
    """
    from xopen import xopen

    bases = _Bases(symbols)
    with written(path) as staged, xopen(staged, "wb", compresslevel=_COMPRESSION) as out:
        lines, letters = list[str](), 0
        for number, line in enumerate(_text_lines(like)):
            lines.append(line)
            letters += len(line)
            if letters >= _PART and (not like.qualities or number % 4 == 3):
                out.write(_replaced(lines, like, bases).encode("latin-1"))
                lines, letters = [], 0
        out.write(_replaced(lines, like, bases).encode("latin-1"))


class _Bases:
    """Bases that come in parts of any size, taken in others."""

    def __init__(self, parts: Iterable[NDArray[np.uint8]]) -> None:
        self._parts, self._current, self._begin = iter(parts), np.empty(0, dtype=np.uint8), 0

    def take(self, count: int) -> NDArray[np.uint8]:
        """Return the next bases."""
        pieces = [self._current[:0]]
        while count:
            if self._begin == len(self._current):
                self._current, self._begin = next(self._parts), 0
            some = self._current[self._begin : self._begin + count]
            pieces.append(some)
            self._begin += len(some)
            count -= len(some)
        return np.concatenate(pieces)


def _replaced(lines: Sequence[str], like: Reads, bases: _Bases) -> str:
    """Lines, whole records of FASTQ, with other bases in their sequences."""
    numbers: Sequence[int]
    if like.qualities:
        numbers, stretches = range(1, len(lines), 4), [line.rstrip("\r\n") for line in lines[1::4]]
    else:
        # Comments are those of dnaio.
        letters = [line.strip() for line in lines]
        numbers = [number for number, some in enumerate(letters) if some and some[0] not in ">#"]
        stretches = [letters[number] for number in numbers]
    text = np.frombuffer("".join(stretches).encode("ascii"), dtype=np.uint8).copy()
    known = _CODES[text] != _UNKNOWN
    text[known] = _LETTERS[bases.take(int(np.count_nonzero(known)))] | (text[known] & _CASE)
    new, begin, replaced = text.tobytes().decode("ascii"), 0, list(lines)
    for number, old in zip(numbers, stretches, strict=True):
        end = begin + len(old)
        before, _, after = lines[number].partition(old) if old else (lines[number], "", "")
        replaced[number] = before + new[begin:end] + after
        begin = end
    return "".join(replaced)
