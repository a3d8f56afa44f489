"""DNA: FASTA and FASTQ, plain or compressed."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dnaio
import numpy as np
from numpy.typing import NDArray
from xopen import xopen

from myosotis.denoising.files.place import written
from myosotis.engine.errors import InputError

BASES = "ACGT"
"""The symbols, in this order."""

_UNREADABLE = (dnaio.FileFormatError, dnaio.UnknownFileFormat, OSError, EOFError, ValueError, zlib.error)
_COMPRESSION = 1
_UNKNOWN = 4
_WRONG = 255
_CODES = np.full(256, _WRONG, dtype=np.uint8)
for _number, _base in enumerate(BASES):
    _CODES[ord(_base)] = _CODES[ord(_base.lower())] = _number
_CODES[ord("N")] = _CODES[ord("n")] = _UNKNOWN
_LETTERS = np.frombuffer(BASES.encode(), dtype=np.uint8)
_CASE = 32


@dataclass(frozen=True)
class Reads:
    """Sequences of bases.

    Attributes:
        records: As dnaio read them: names, letters, qualities.
        symbols: All known bases, one sequence after another.
        lengths: Of the stretches that contexts stay in: reads, cut at every N.
        known: Of every letter of all records, whether it is a base.
        qualities: Whether there are any: FASTQ.
        lines: FASTA: letters on each line, over all records; of FASTQ, where a sequence has one line, None.
    """

    records: Sequence[Any]
    symbols: NDArray[np.uint8]
    lengths: list[int]
    known: NDArray[np.bool_]
    qualities: bool
    lines: NDArray[np.int64] | None


def read_reads(path: Path) -> Reads:
    """Read sequences. An N is no symbol: it stays, and no context reaches over it.

    Raises:
        InputError: The file is missing, damaged or cut off, empty, or holds other letters.
    """
    try:
        with dnaio.open(path) as content:
            records = list(content)
            qualities = bool(content.delivers_qualities)
        lines = None if qualities else _line_lengths(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _UNREADABLE as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as FASTA or FASTQ, or is cut off: {first}") from None
    if not any(len(record.sequence) for record in records):
        raise InputError(f"{path}: holds no bases")
    codes, lengths = [], list[int]()
    for record in records:
        letters = np.frombuffer(record.sequence.encode("ascii", "replace"), dtype=np.uint8)
        found = _CODES[letters]
        wrong = np.flatnonzero(found == _WRONG)
        if len(wrong):
            raise InputError(
                f"{path}: {record.name.split()[0] if record.name.split() else 'a record'} has "
                f"{record.sequence[wrong[0]]!r} at position {wrong[0] + 1}; A, C, G, T and N are read"
            )
        codes.append(found)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], (found != _UNKNOWN).astype(np.int8), [0]])))
        lengths += (edges[1::2] - edges[::2]).tolist()
    every = np.concatenate(codes)
    known = every != _UNKNOWN
    if not known.any():
        raise InputError(f"{path}: holds no bases but N")
    return Reads(records, every[known], lengths, known, qualities, lines)


def _line_lengths(path: Path) -> NDArray[np.int64]:
    """Letters on each line of FASTA that is no name and, as for dnaio, no remark."""
    with xopen(path, "rb") as content:
        found = (len(line) for line in map(bytes.strip, content) if line and line[:1] not in b">#")
        return np.fromiter(found, dtype=np.int64)


def check_reads_suffix(path: Path, like: Reads) -> None:
    """Raise ``InputError`` where the name of a file is that of the other format."""
    name = path.name.lower().removesuffix(".gz")
    wrong = (".fasta", ".fa", ".fna") if like.qualities else (".fastq", ".fq")
    if name.endswith(wrong):
        raise InputError(f"{path}: the result is {'FASTQ' if like.qualities else 'FASTA'}, as the input; name it so")


def write_reads(path: Path, symbols: NDArray[np.uint8], like: Reads) -> None:
    """Write sequences with other bases: names, qualities, N, small letters and the lengths of lines stay.

    It is compressed where its name ends with ``.gz``.
    """
    letters = np.frombuffer("".join(record.sequence for record in like.records).encode(), dtype=np.uint8).copy()
    small = letters[like.known] & _CASE
    letters[like.known] = _LETTERS[symbols] | small
    with written(path) as staged:
        if like.lines is None:
            _write_fastq(staged, letters.tobytes().decode("ascii"), like.records)
        else:
            _write_fasta(staged, letters.tobytes(), like.records, like.lines)


def _write_fastq(place: Path, text: str, records: Sequence[Any]) -> None:
    begin = 0
    with dnaio.open(place, mode="w", fileformat="fastq", qualities=True) as out:
        for record in records:
            end = begin + len(record.sequence)
            out.write(dnaio.SequenceRecord(record.name, text[begin:end], record.qualities))
            begin = end


def _write_fasta(place: Path, text: bytes, records: Sequence[Any], lines: NDArray[np.int64]) -> None:
    begin, lengths = 0, iter(lines.tolist())
    with xopen(place, "wb", compresslevel=_COMPRESSION) as out:
        for record in records:
            out.write(f">{record.name}\n".encode())
            end = begin + len(record.sequence)
            while begin < end:
                stop = begin + next(lengths)
                out.write(text[begin:stop] + b"\n")
                begin = stop
