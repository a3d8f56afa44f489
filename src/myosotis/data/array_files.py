"""Arrays of NumPy from files of others: what their headers claim is checked before any memory is taken for it."""

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.engine.errors import InputError
from myosotis.engine.unpacking import check_unpacked

_DAMAGED = (
    OSError, ValueError, TypeError, EOFError, SyntaxError, OverflowError, RuntimeError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_npy(path: Path) -> NDArray[Any]:
    """Read a ``.npy`` file, which must be as long as its header says.

    Raises:
        InputError: It is not, or is no array of plain values.
    """
    try:
        with path.open("rb") as stream:
            _check_length(stream, path.stat().st_size)
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    except _DAMAGED:
        raise InputError(f"{path}: not a readable .npy array") from None


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` file: its arrays by name.

    Raises:
        InputError: It cannot be read, an array is not as long as its header says, or all are too large together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            check_unpacked(path, sum(member.file_size for member in members))
            return {member.filename.removesuffix(".npy"): _member(archive, member) for member in members}
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read: {(str(error) or type(error).__name__).splitlines()[0]}") from None


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        _check_length(io.BytesIO(stream.read(2**16)), member.file_size)
    with archive.open(member) as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _check_length(stream: io.BufferedIOBase, length: int) -> None:
    """Raise ``ValueError`` unless a file is as long as its header says; the stream is where it was afterwards."""
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read_header(stream)
    claimed = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or (claimed != length - stream.tell() and not kind.hasobject):
        raise ValueError(f"its header claims {claimed:,} bytes of values, it holds {length - stream.tell():,}")
    stream.seek(0)
