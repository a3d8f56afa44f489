"""What the files of a run were when the job wrote them: one that was damaged later is named, not believed."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json

DIGESTS = "digests.json"


def content_digest(content: Any) -> str:
    """Return the SHA-256 of a JSON value, whatever the spacing of its file."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def record_digests(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write the digests of files, which replace all earlier ones.

    Args:
        folder: Directory of the files, which gets ``digests.json``.
        contents: What the files hold, by their names.
    """
    files = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())}
    write_json(folder / DIGESTS, {"sha256": content_digest(files), "files": files})


def check_digests(folder: Path, names: frozenset[str] | None = None, *, removable: frozenset[str]) -> None:
    """Raise ``InputError`` if a file is not what its digest says; a directory without digests is not checked.

    Args:
        folder: Directory with ``digests.json``.
        names: The files to check; None: all that have a digest.
        removable: Names of files that may be missing.
    """
    path = folder / DIGESTS
    if not path.is_file():
        return
    way_out = f"remove {DIGESTS} to have the run read without a check"
    try:
        stored = read_json(path)
    except InputError:
        stored = None
    if not isinstance(stored, dict) or stored.get("sha256") != content_digest(stored.get("files")):
        raise InputError(f"{path}: damaged, so no file of the run can be checked; {way_out}")
    for name, digest in stored["files"].items():
        if names is not None and name not in names:
            continue
        file = folder / name
        if not file.is_file():
            if name in removable:
                continue
            raise InputError(f"{file}: is missing; {way_out}")
        if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise InputError(f"{file}: damaged or edited: it is not what the job wrote; {way_out}")
