"""Files that are removed for good: first their digests, then the files, then the line."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json
from myosotis.ledger.claims import Claim
from myosotis.ledger.store import Ledger

PENDING = "destroying.json"
"""The file of a ledger with what is being removed; it goes when the line is written."""


def destroyed(ledger: Ledger, paths: Sequence[Path]) -> Claim:
    """Remove files and folders, and return the claim of it; ``destroying.json`` stays until its line is written.

    What an interrupted call was about to remove is removed first, and is part of the claim.

    Args:
        ledger: The ledger that is to have the line.
        paths: Files and folders.

    Raises:
        InputError: A path is missing, a link, or a part of the ledger; nothing is removed then.
    """
    pending = ledger.path / PENDING
    files: dict[str, str] = {}
    places: list[str] = []
    if pending.is_file():
        content = read_json(pending)
        files, places = dict(content["files"]), list(content["paths"])
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path}: is a link, whose content lies elsewhere")
        if str(path.resolve()) not in places:
            files |= _digests(ledger, path)
            places.append(str(path.resolve()))
    write_json(pending, {"files": files, "paths": places}, private=True)
    for place in map(Path, places):
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
    facts = {
        "run": {"name": f"{len(files)} files", "kind": "destroy", "method": None},
        "tool": {"name": "myosotis", "version": __version__},
        "evidence": {"result.json": None},
        "verdict": None,
    }
    return Claim("destroy", whole, files, None, (), facts)


def _digests(ledger: Ledger, path: Path) -> dict[str, str]:
    """SHA-256 of each file, by the name that the line has for it: no folder above the given path is told."""
    if not path.exists():
        raise InputError(f"{path}: is not there, so there is nothing to remove")
    whole = path.resolve()
    if whole.is_relative_to(ledger.path) or ledger.path.is_relative_to(whole):
        raise InputError(f"{path}: holds the ledger, or is a part of it")
    found = [whole] if whole.is_file() else sorted(file for file in whole.rglob("*") if not file.is_dir())
    linked = next((file for file in found if file.is_symlink()), None)
    if linked is not None:
        raise InputError(f"{path}: holds the link {linked.name}, whose content lies elsewhere")
    if not found:
        raise InputError(f"{path}: holds no file")
    names = {}
    for file in found:
        with file.open("rb") as stream:
            names[file.relative_to(whole.parent).as_posix()] = hashlib.file_digest(stream, "sha256").hexdigest()
    return names
