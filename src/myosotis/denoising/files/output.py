"""Output files: nothing is overwritten without being asked to, and a file is written completely or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from myosotis.engine.errors import InputError
from myosotis.engine.files import staged_file


def check_output(source: Path, outputs: Sequence[Path], others: Sequence[Path | None], *, overwrite: bool) -> None:
    """Raise ``InputError`` unless results of ``source`` may be written to ``outputs``.

    Args:
        source: The file to read.
        outputs: Files to write, of different names.
        others: Further files to read.
        overwrite: Whether existing results may be replaced; never a file that is read.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if not source.stat().st_size:
        raise InputError(f"{source}: is empty")
    inputs = [source, *(path for path in others if path is not None)]
    for number, output in enumerate(outputs):
        if output.is_dir():
            raise InputError(f"{output}: is a directory; name the file")
        if not output.parent.is_dir():
            raise InputError(f"{output.parent}: no such directory")
        if any(output.resolve() == other.resolve() for other in outputs[:number]):
            raise InputError(f"{output}: cannot hold two results")
        if not output.exists():
            continue
        if not overwrite:
            raise InputError(f"{output}: already exists; --overwrite replaces it")
        if any(path.exists() and output.samefile(path) for path in inputs):
            raise InputError(f"{output}: is an input; name another file for the result")


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which is renamed to ``path`` at the end; after an error an old file stays as it was.

    It has the suffixes of ``path``, for writers that look at them.
    """
    try:
        with staged_file(path, suffix="".join(path.suffixes)) as staged:
            yield staged
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
