"""Where a result goes: nothing is overwritten unasked, and what is written is whole."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from myosotis.engine.errors import InputError
from myosotis.engine.files import staged_file


def check_output(source: Path, places: Sequence[Path], others: Sequence[Path | None], *, overwrite: bool) -> None:
    """Raise ``InputError`` unless results of ``source`` may be written to ``places``.

    Args:
        source: The file that is read.
        places: Files that are written, of different names.
        others: More files that are read.
        overwrite: Whether results that are there may be replaced; never what is read.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if not source.stat().st_size:
        raise InputError(f"{source}: is empty")
    read = [source, *(one for one in others if one is not None)]
    for number, place in enumerate(places):
        if place.is_dir():
            raise InputError(f"{place}: is a directory; name the file")
        if not place.parent.is_dir():
            raise InputError(f"{place.parent}: no such directory")
        if any(place.resolve() == other.resolve() for other in places[:number]):
            raise InputError(f"{place}: cannot hold two results")
        if not place.exists():
            continue
        if not overwrite:
            raise InputError(f"{place}: exists already; --overwrite replaces it")
        if any(one.exists() and place.samefile(one) for one in read):
            raise InputError(f"{place}: is read here; name another file for the result")


@contextmanager
def written(place: Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to ``place`` at the end; after a fault an old file stays as it was.

    The name ends as that of ``place``, for writers who look at it.
    """
    try:
        with staged_file(place, suffix="".join(place.suffixes)) as staged:
            yield staged
    except OSError as error:
        raise InputError(f"{place}: cannot be written: {error.strerror or error}") from None
