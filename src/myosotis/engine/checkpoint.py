"""Checkpoints that prove themselves: a directory is complete only with a manifest that its files match."""

import hashlib
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.files import flush, publish, read_json, write_json

MANIFEST = "manifest.json"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(staged: Path, place: Path) -> None:
    """Write the manifest of ``staged`` (size and SHA-256 of every file) and rename the directory to ``place``.

    Every file is on the disk before the manifest that vouches for it. An older checkpoint at ``place`` is replaced.

    Args:
        staged: A directory whose files are all written.
        place: Where it belongs, e.g. ``checkpoints/step-20``; on the same file system.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file() and path.name != MANIFEST)
    listing = {
        path.relative_to(staged).as_posix(): {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in files
    }
    for path in files:
        flush(path)
    for folder in {path.parent for path in files} - {staged}:
        flush(folder)
    write_json(staged / MANIFEST, listing)
    publish(staged, place, replace=True)


def is_complete(checkpoint: Path) -> bool:
    """Say whether the manifest is there and every file of it has the recorded size and content.

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
    found = [path for path in parent.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def newest_complete(parent: Path) -> Path | None:
    """Return the newest complete checkpoint below ``parent``, passing over damaged ones; None if there is none."""
    return next((path for path in reversed(numbered_checkpoints(parent)) if is_complete(path)), None)
