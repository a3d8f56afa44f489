"""Files that are removed for good: first their digests, then the files, then the line."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from securesystemslib.signer import Signer

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json
from myosotis.ledger.claims import Claim, file_digest
from myosotis.ledger.statements import kind_of
from myosotis.ledger.store import Ledger

PENDING = "destroying.json"
"""The file of a ledger with what is being removed; it goes when the line is written."""


def destroy(ledger: Ledger, paths: Sequence[Path], signer: Signer) -> tuple[int, int]:
    """Remove files and folders, and add a line with their digests.

    What an interrupted call was about to remove is removed first, and is part of the line.

    Args:
        ledger: The ledger.
        paths: Files and folders.
        signer: Signer of the line.

    Returns:
        Number of the line, counted from 1, and number of files.

    Raises:
        InputError: A path is missing, a link, or a part of the ledger, or two files would have one name in the line;
            nothing is removed then.
    """
    ledger.check_signer(signer)
    pending = ledger.path / PENDING
    files, started = _interrupted(ledger)
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path}: is a link, whose content lies elsewhere")
        if str(path.resolve()) not in started:
            digests = _digests(ledger, path)
            twice = next((name for name in digests if name in files), None)
            if twice is not None:
                raise InputError(f"two files would be called {twice} in the line: destroy them by two commands")
            files |= digests
            started.append(str(path.resolve()))
    write_json(pending, {"files": files, "paths": started}, private=True)
    for path in map(Path, started):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    facts = {
        "run": {"name": f"{len(files)} files", "kind": "destroy", "method": None},
        "tool": {"name": "myosotis", "version": __version__},
        "evidence": {},
    }
    number = ledger.append(Claim("destroy", files, {}, None, (), facts), signer)
    pending.unlink()
    return number, len(files)


def _interrupted(ledger: Ledger) -> tuple[dict[str, str], list[str]]:
    """Digests and paths of what an earlier call was about to remove; nothing if its line is there."""
    pending = ledger.path / PENDING
    if not pending.is_file():
        return {}, []
    content = read_json(pending)
    files = dict(content["files"])
    for statement in ledger.statements():
        recorded = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
        if kind_of(statement) == "destroy" and recorded == files:
            return {}, []
    return files, list(content["paths"])


def _digests(ledger: Ledger, path: Path) -> dict[str, str]:
    """SHA-256 of each file, by its name in the line, which has no folder above the given path."""
    if not path.exists():
        raise InputError(f"{path}: is not there, so there is nothing to remove")
    whole = path.resolve()
    if whole.is_relative_to(ledger.path) or ledger.path.is_relative_to(whole):
        raise InputError(f"{path}: holds the ledger, or is a part of it")
    files = [whole] if whole.is_file() else sorted(file for file in whole.rglob("*") if not file.is_dir())
    linked = next((file for file in files if file.is_symlink()), None)
    if linked is not None:
        raise InputError(f"{path}: holds the link {linked.name}, whose content lies elsewhere")
    if not files:
        raise InputError(f"{path}: holds no file")
    return {file.relative_to(whole.parent).as_posix(): file_digest(file) for file in files}
