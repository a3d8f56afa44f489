"""DNA: FASTA and FASTQ, plain or compressed."""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass
class FastaLayout:
    """The lines of a FASTA file, so that it can be written again exactly.

    Attributes:
        lengths: Letters on each line of a sequence.
        kinds: Index of the frame of each of these lines.
        frames: Different pairs of what stands before and after the letters of a line, its end included.
        others: Names, comments and empty lines as they are, each with the number of lines of sequences before it.
    """

    lengths: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    frames: dict[tuple[str, str], int] = field(default_factory=dict)
    others: list[tuple[int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FastqLayout:
    """The layout of a FASTQ file.

    Attributes:
        end: End of every line.
        two_names: Whether the name stands before the qualities again.
    """

    end: str
    two_names: bool


@dataclass(frozen=True)
class Reads:
    """Sequences of bases.

    Attributes:
        records: Records of dnaio: names, letters, qualities.
        symbols: Known bases, one sequence after another.
        lengths: Lengths of the stretches that contexts stay in: reads, cut at every N.
        known: Whether each letter of all records is a base.
        layout: Layout of the file, FASTA or FASTQ.
    """

    records: Sequence[Any]
    symbols: NDArray[np.uint8]
    lengths: list[int]
    known: NDArray[np.bool_]
    layout: FastaLayout | FastqLayout

    @property
    def qualities(self) -> bool:
        """Whether there are qualities: FASTQ."""
        return isinstance(self.layout, FastqLayout)


def read_reads(path: Path) -> Reads:
    """Read sequences. An N is no symbol: it stays, and no context reaches over it.

    Raises:
        InputError: The file is missing, damaged or cut off, empty, or holds other letters.
    """
    require("dna", "denoising of DNA")
    import dnaio

    # Of damaged files, plain or compressed.
    unreadable = (dnaio.FileFormatError, dnaio.UnknownFileFormat, OSError, EOFError, ValueError, zlib.error)
    try:
        with dnaio.open(path) as content:
            records = list(content)
            two_names = bool(content.two_headers) if content.delivers_qualities else None
        layout = _fasta_layout(path) if two_names is None else FastqLayout(_first_end(path), two_names)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except unreadable as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as FASTA or FASTQ, or is cut off: {first}") from None
    if not any(len(record.sequence) for record in records):
        raise InputError(f"{path}: holds no bases")
    codes, lengths = [], list[int]()
    for record in records:
        letters = np.frombuffer(record.sequence.encode("ascii", "replace"), dtype=np.uint8)
        bases = _CODES[letters]
        wrong = np.flatnonzero(bases == _WRONG)
        if len(wrong):
            raise InputError(
                f"{path}: {record.name.split()[0] if record.name.split() else 'a record'} has "
                f"{record.sequence[wrong[0]]!r} at position {wrong[0] + 1}; expected A, C, G, T or N"
            )
        codes.append(bases)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (bases != _UNKNOWN).astype(np.int8), [0]])))
        lengths += (edges[1::2] - edges[::2]).tolist()
    letters_of_all = np.concatenate(codes)
    known = letters_of_all != _UNKNOWN
    if not known.any():
        raise InputError(f"{path}: holds no bases but N")
    return Reads(records, letters_of_all[known], lengths, known, layout)


def _text_lines(path: Path) -> Iterator[str]:
    """The lines with their ends; every byte is a character."""
    from xopen import xopen

    with xopen(path, "rb") as content:
        yield from io.TextIOWrapper(content, encoding="latin-1", newline="")


def _fasta_layout(path: Path) -> FastaLayout:
    layout = FastaLayout()
    for line in _text_lines(path):
        letters = line.strip()
        # Comments are those of dnaio.
        if not letters or letters[0] in ">#":
            layout.others.append((len(layout.lengths), line))
            continue
        before, _, after = line.partition(letters)
        layout.lengths.append(len(letters))
        layout.kinds.append(layout.frames.setdefault((before, after), len(layout.frames)))
    return layout


def _first_end(path: Path) -> str:
    first = next(_text_lines(path), "")
    return first[len(first.rstrip("\r\n")) :] or "\n"


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


def write_reads(path: Path, symbols: NDArray[np.uint8], like: Reads) -> None:
    """Write sequences with other bases: names, comments, qualities, N, small letters and the ends of lines stay.

    It is compressed where its name ends with ``.gz``, ``.bz2``, ``.xz`` or ``.zst``.
    """
    letters = np.frombuffer("".join(record.sequence for record in like.records).encode(), dtype=np.uint8).copy()
    small = letters[like.known] & _CASE
    letters[like.known] = _LETTERS[symbols] | small
    text = letters.tobytes().decode("ascii")
    from xopen import xopen

    with written(path) as staged, xopen(staged, "wb", compresslevel=_COMPRESSION) as out:
        lines = (
            _fasta_lines(text, like.layout)
            if isinstance(like.layout, FastaLayout)
            else _fastq_lines(text, like.records, like.layout)
        )
        for line in lines:
            out.write(line.encode("latin-1"))


def _fastq_lines(text: str, records: Sequence[Any], layout: FastqLayout) -> Iterator[str]:
    begin, line_end = 0, layout.end
    for record in records:
        end = begin + len(record.sequence)
        again = record.name if layout.two_names else ""
        yield f"@{record.name}{line_end}{text[begin:end]}{line_end}+{again}{line_end}{record.qualities}{line_end}"
        begin = end


def _fasta_lines(text: str, layout: FastaLayout) -> Iterator[str]:
    frames, others = list(layout.frames), iter(layout.others)
    at, other = next(others, (len(layout.lengths), ""))
    begin = 0
    for number, (length, kind) in enumerate(zip(layout.lengths, layout.kinds, strict=True)):
        while at == number and other:
            yield other
            at, other = next(others, (len(layout.lengths), ""))
        before, after = frames[kind]
        yield before + text[begin : begin + length] + after
        begin += length
    if other:
        yield other
    yield from (line for _, line in others)
