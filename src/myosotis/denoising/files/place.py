"""Where a result goes: nothing is overwritten unasked, and what is written is whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from myosotis.engine.errors import InputError
from myosotis.engine.files import publish


def check_output(source: Path, place: Path, *, overwrite: bool) -> None:
    """Raise ``InputError`` unless a result of ``source`` may be written to ``place``."""
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if not source.stat().st_size:
        raise InputError(f"{source}: is empty")
    if place.is_dir():
        raise InputError(f"{place}: is a directory; name the file")
    if place.exists() and not overwrite:
        raise InputError(f"{place}: exists already; --overwrite replaces it")
    if place.exists() and place.samefile(source):
        raise InputError(f"{place}: is the input; name another file")
    if not place.parent.is_dir():
        raise InputError(f"{place.parent}: no such directory")


@contextmanager
def written(place: Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to ``place`` at the end; after a fault an old file stays as it was.

    The name ends as that of ``place``, for writers who look at it.
    """
    staged = place.with_name(f".partial-{place.name}")
    try:
        yield staged
        publish(staged, place)
    finally:
        staged.unlink(missing_ok=True)
