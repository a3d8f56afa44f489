"""Checkpoints that prove themselves: a directory is complete only with a manifest that its files match."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.files import flush, publish, read_json, write_json

MANIFEST = "manifest.json"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def sealed_directory(path: Path) -> Iterator[Path]:
    """Give an empty hidden directory beside ``path`` to write to, and :func:`seal` it as ``path`` at the end.

    After an error there is nothing new at ``path``. Only one process may do this at a time.

    Args:
        path: The final name, e.g. ``checkpoints/step-20``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "model"
        >>> with sealed_directory(path) as staged:
        ...     write_json(staged / "weights.json", [1.0])
        >>> is_complete(path)
        True
    """
    staged = path.with_name(f".{path.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    yield staged
    seal(staged, path)


def seal(staged: Path, path: Path) -> None:
    """Write the manifest of ``staged`` (size and SHA-256 of every file) and rename the directory to ``path``.

    Every file is on the disk before the manifest that vouches for it. An older checkpoint at ``path`` is replaced.

    Args:
        staged: A directory whose files are all written.
        path: The final name, on the same file system.
    """
    files = sorted(file for file in staged.rglob("*") if file.is_file() and file.name != MANIFEST)
    listing = {
        file.relative_to(staged).as_posix(): {"bytes": file.stat().st_size, "sha256": _digest(file)} for file in files
    }
    for file in files:
        flush(file)
    for folder in {file.parent for file in files} - {staged}:
        flush(folder)
    write_json(staged / MANIFEST, listing)
    publish(staged, path, replace=True)


def is_complete(checkpoint: Path) -> bool:
    """Return whether the manifest is there and every file that it lists has the recorded size and content.

    A manifest that cannot be read, or that lists nothing, vouches for nothing.
    """
    try:
        listing = read_json(checkpoint / MANIFEST)
    except InputError:
        return False
    return (
        isinstance(listing, dict)
        and bool(listing)
        and all(_matches(checkpoint / name, listing[name]) for name in listing)
    )


def _matches(path: Path, entry: Any) -> bool:
    """Whether a file has the size and the content that the manifest records."""
    if not isinstance(entry, dict) or not path.is_file() or path.stat().st_size != entry.get("bytes"):
        return False
    return _digest(path) == entry.get("sha256")


def numbered_checkpoints(parent: Path) -> list[Path]:
    """Return the directories ``step-<number>`` below ``parent``, oldest first, complete or not."""
    paths = [path for path in parent.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdecimal()]
    return sorted(paths, key=lambda path: int(path.name.removeprefix("step-")))


def newest_complete(parent: Path) -> Path | None:
    """Return the newest complete checkpoint below ``parent``, passing over damaged ones; None if there is none."""
    return next((path for path in reversed(numbered_checkpoints(parent)) if is_complete(path)), None)
