"""Files that are removed for good: first what they are, next to the key, then the files, then the line.

The line says how many files there were, and commits to them; names and plain digests of data would tell everybody who
has the ledger, and photos or texts to try, what was destroyed. Only models that the ledger names already are named.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer, SSlibKey

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text
from myosotis.ledger.claims import Claim
from myosotis.ledger.commitments import SCHEME, Commitment, Entry, commit, write_opening
from myosotis.ledger.envelopes import EnvelopeError, opened, sealed
from myosotis.ledger.heads import role_for
from myosotis.ledger.statements import digest_of
from myosotis.ledger.store import Ledger

PENDING = "application/vnd.myosotis.destroying+json"
"""Type of the envelope with what is being removed."""

_CHUNK = 2**20


@dataclass(frozen=True)
class Destroyed:
    """A line about files that were removed.

    Attributes:
        line: Number of the line, counted from 1.
        files: Number of files.
        models: Numbers of the lines whose models were among them.
        left: Folders that were not removed, for something arrived in them meanwhile.
    """

    line: int
    files: int
    models: tuple[int, ...]
    left: tuple[Path, ...]


@dataclass(frozen=True)
class _File:
    path: Path
    content: bytes  # as in Entry
    sha256: str = ""


@dataclass(frozen=True)
class _Removal:
    """What is removed under one line."""

    paths: tuple[Path, ...]
    files: tuple[_File, ...]
    models: tuple[int, ...]
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @cached_property
    def commitment(self) -> Commitment:
        """Commitments to the files, which are called as they would be next to each other."""
        return commit([Entry(self._name(file.path), "file", file.content) for file in self.files], self.key)

    def _name(self, file: Path) -> str:
        index, root = next((index, root) for index, root in enumerate(self.paths, start=1) if file.is_relative_to(root))
        return f"{index}/{file.relative_to(root.parent).as_posix()}"

    def sealed(self, ledger: Ledger, signer: Signer) -> str:
        content = {
            "ledger": ledger.head().ledger,
            "paths": [str(path) for path in self.paths],
            "files": [[str(file.path), file.content.hex()] for file in self.files],
            "models": list(self.models),
            "key": self.key.hex(),
        }
        return sealed(content, PENDING, signer).decode()

    @classmethod
    def of(cls, content: Any) -> "_Removal":
        files = tuple(_File(Path(path), bytes.fromhex(digest)) for path, digest in content["files"])
        return cls(tuple(map(Path, content["paths"])), files, tuple(content["models"]), bytes.fromhex(content["key"]))


def destroy(
    ledger: Ledger, paths: Sequence[Path], signer: Signer, pending: Path, opening: Path | None = None
) -> list[Destroyed]:
    """Remove files and folders, and add a line that says how many there were and commits to them.

    What an interrupted call was about to remove is removed first, under a line of its own.

    Args:
        ledger: The ledger.
        paths: Files and folders.
        signer: Signer of the line.
        pending: Private file, next to the key, with what is being removed; it goes when the line is written.
        opening: File for the key of the commitments, by which receipts can be made; the key is forgotten unless given.

    Returns:
        The lines: one, or two where a call had been interrupted.

    Raises:
        InputError: A path is missing, holds a link or a file with several names, or is a part of the ledger; nothing is
            removed then. Or a file has changed since its digest was taken. Or the signer is not an operator.
    """
    ledger.check_signer(signer, role_for("destroy"), "destroy")
    lines = []
    started = _interrupted(ledger, signer, pending)
    if started is not None:
        lines.append(_finish(ledger, started, signer, pending))
    done = () if started is None else started.paths
    left = [path for path in paths if path.is_symlink() or path.resolve() not in done or path.exists()]
    if left:
        removal = _planned(ledger, left, pending)
        if opening is not None:
            write_opening(removal.commitment, opening)
        write_text(pending, removal.sealed(ledger, signer), private=True)
        lines.append(_finish(ledger, removal, signer, pending))
    return lines


def _interrupted(ledger: Ledger, signer: Signer, pending: Path) -> _Removal | None:
    """What an earlier call was about to remove, signed by the same key; None if there is nothing."""
    if pending.is_symlink() or (pending.exists() and not pending.is_file()):
        raise InputError(f"{pending}: is not a file of an interrupted removal")
    if not pending.is_file():
        return None
    if os.name == "posix" and pending.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{pending}: others can read or change what was to be removed; look at it, and remove it")
    public: SSlibKey = signer.public_key  # type: ignore[assignment]
    try:
        content, _ = opened(pending.read_bytes(), PENDING, [public])
    except EnvelopeError as error:
        raise InputError(f"{pending}: {error}; nothing was removed. Look at it, and remove it") from None
    if content["ledger"] != ledger.head().ledger:
        raise InputError(f"{pending}: is of a removal under another ledger, which must be completed there first")
    return _Removal.of(content)


def _planned(ledger: Ledger, paths: Sequence[Path], pending: Path) -> _Removal:
    roots: list[Path] = []
    files: dict[Path, _File] = {}
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path}: is a link, whose content lies elsewhere")
        if not path.exists():
            raise InputError(f"{path}: does not exist, so there is nothing to remove")
        whole = path.resolve()
        for name, other in (("the ledger", ledger.path), ("the key", pending.resolve().parent / pending.name)):
            if whole.is_relative_to(other) or other.is_relative_to(whole):
                raise InputError(f"{path}: holds {name}, or is a part of it")
        content = {file: _read(file) for file in _files_of(whole, path)}
        if not content:
            raise InputError(f"{path}: holds no file")
        files |= content
        roots.append(whole)
    listed = sorted(files.values(), key=lambda file: file.path)
    return _Removal(tuple(roots), tuple(listed), _models_among(ledger, roots, listed))


def _files_of(whole: Path, path: Path) -> Iterator[Path]:
    """Regular files with one name each."""
    if not whole.is_dir():
        yield _checked(whole, path)
        return
    for folder, folders, files in os.walk(whole):
        for name in folders:
            if (Path(folder) / name).is_symlink():
                raise InputError(f"{path}: holds the link {name}, whose content lies elsewhere")
        for name in files:
            yield _checked(Path(folder) / name, path)


def _checked(file: Path, path: Path) -> Path:
    state = file.lstat()
    if stat.S_ISLNK(state.st_mode):
        raise InputError(f"{path}: holds the link {file.name}, whose content lies elsewhere")
    if not stat.S_ISREG(state.st_mode):
        raise InputError(f"{path}: {file.name} is not a regular file")
    if state.st_nlink > 1:
        raise InputError(f"{path}: {file.name} has another name elsewhere, under which its content would stay")
    return file


def _read(file: Path) -> _File:
    plain, committed = hashlib.sha256(), hashlib.sha256(b"file ")
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            plain.update(chunk)
            committed.update(chunk)
    return _File(file, committed.digest(), plain.hexdigest())


def _models_among(ledger: Ledger, roots: Sequence[Path], files: Sequence[_File]) -> tuple[int, ...]:
    """Numbers of the lines whose models are among the files, each a folder as a whole."""
    known = {statement.digest: statement.line for statement in ledger.statements() if statement.leaves_model}
    below: dict[Path, dict[str, str]] = {}
    for file in files:
        for folder in file.path.parents:
            if any(folder.is_relative_to(root) for root in roots):
                below.setdefault(folder, {})[file.path.relative_to(folder).as_posix()] = file.sha256
    numbers = (known.get(digest_of(digests)) for digests in below.values())
    return tuple(sorted(number for number in numbers if number is not None))


def _finish(ledger: Ledger, removal: _Removal, signer: Signer, pending: Path) -> Destroyed:
    """Remove the files, each after its digest was taken again, write the line unless it is there, and forget them."""
    for file in removal.files:
        if not file.path.exists():
            continue
        if _read(_checked(file.path, file.path)).content != file.content:
            raise InputError(
                f"{file.path}: has changed since its digest was taken, so it was not removed; move it, and call again"
            )
        file.path.unlink()
    left = tuple(path for path in removal.paths if path.is_dir() and not _removed_when_empty(path))
    line = _line_of(ledger, removal.commitment.root)
    if line is None:
        facts = {
            "run": {"name": f"{len(removal.files)} files", "kind": "destroy", "method": None},
            "tool": {"name": "myosotis", "version": __version__},
            "evidence": {},
            "records": {
                "count": len(removal.files),
                "scheme": SCHEME,
                "root": removal.commitment.root,
                "commitments": removal.commitment.size,
            },
            "models": [number - 1 for number in removal.models],
        }
        claim = Claim("destroy", {"commitments": removal.commitment.root}, {}, None, (), facts)
        line = ledger.append(claim, signer)
    pending.unlink(missing_ok=True)
    return Destroyed(line, len(removal.files), removal.models, left)


def _removed_when_empty(folder: Path) -> bool:
    """Remove the empty folders of a folder, the deepest first; whether it is gone."""
    for inner, _, _ in os.walk(folder, topdown=False):
        if not any(os.scandir(inner)):
            Path(inner).rmdir()
    return not folder.exists()


def _line_of(ledger: Ledger, root: str) -> int | None:
    """Number of the line with these commitments."""
    return next((one.line for one in ledger.statements() if one.kind == "destroy" and one.digest == root), None)
