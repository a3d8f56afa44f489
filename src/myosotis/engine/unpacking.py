"""How much a compressed file of others may unpack to."""

from pathlib import Path

from myosotis.engine.errors import InputError

MAX_UNPACKED = 2**30
"""Bytes that a small compressed file may unpack to."""

MAX_RATIO = 100
"""Bytes for each compressed byte that a large file may unpack to; photos have 1 to 10, a file of zeros has 1,000."""


def check_unpacked(path: Path, unpacked: int) -> None:
    """Check that a compressed file unpacks to no more than the larger of the two limits.

    Args:
        path: The compressed file.
        unpacked: Bytes that it claims to hold.

    Raises:
        InputError: It unpacks to more.
    """
    limit = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
    if unpacked > limit:
        raise InputError(f"{path}: unpacks to {unpacked:,} bytes, more than the {limit:,} that are read of such a file")
