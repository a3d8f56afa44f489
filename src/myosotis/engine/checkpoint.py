"""Checkpoints that prove themselves: a directory is complete only with a manifest that its files match."""

import hashlib
import json
from pathlib import Path

from myosotis.engine.files import publish, write_json

MANIFEST = "manifest.json"


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def seal(staged: Path, place: Path) -> None:
    """Write the manifest of ``staged`` (size and SHA-256 of every file) and rename the directory to ``place``.

    Args:
        staged: A directory whose files are all written.
        place: Where it belongs, e.g. ``checkpoints/step-20``; on the same file system.
    """
    files = sorted(path for path in staged.rglob("*") if path.is_file() and path.name != MANIFEST)
    listing = {
        path.relative_to(staged).as_posix(): {"bytes": path.stat().st_size, "sha256": _digest(path)} for path in files
    }
    write_json(staged / MANIFEST, listing)
    publish(staged, place)


def is_complete(checkpoint: Path) -> bool:
    """Say whether the manifest is there and every file of it has the recorded size and content."""
    manifest = checkpoint / MANIFEST
    if not manifest.is_file():
        return False
    try:
        listing = json.loads(manifest.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        return False
    return all(
        (checkpoint / name).is_file()
        and (checkpoint / name).stat().st_size == entry["bytes"]
        and _digest(checkpoint / name) == entry["sha256"]
        for name, entry in listing.items()
    )


def numbered_checkpoints(parent: Path) -> list[Path]:
    """Return the directories ``step-<number>`` below ``parent``, oldest first, complete or not."""
    found = [path for path in parent.glob("step-*") if path.is_dir() and path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def newest_complete(parent: Path) -> Path | None:
    """Return the newest complete checkpoint below ``parent``, passing over damaged ones; None if there is none."""
    return next((path for path in reversed(numbered_checkpoints(parent)) if is_complete(path)), None)
