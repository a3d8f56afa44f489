"""Files that are either complete or absent: written under another name, flushed, then renamed."""

import json
import logging
import math
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from myosotis.engine.errors import DivergedError, InputError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger(__name__)


def flush(path: Path) -> None:
    """Ask the system to put a file, or the entries of a directory, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(staged: Path, path: Path, *, replace: bool = False) -> None:
    """Rename ``staged`` to ``path``, on the same file system, so that a reader sees the old entry or the new one.

    Args:
        staged: A finished file or directory.
        path: Its final name. A file that is there is replaced in one step.
        replace: Whether a directory that is there may be replaced. It is moved aside before the new one is renamed,
            and removed last, so that a crash never leaves half a directory under ``path``.

    Raises:
        FileExistsError: ``path`` is a directory and ``replace`` is not set, or a file while ``staged`` is a directory.
    """
    flush(staged)
    if not (staged.is_dir() and os.path.lexists(path)):
        if path.is_dir():
            raise FileExistsError(f"{path} is a directory, which a file cannot replace")
        staged.rename(path)
    elif not (replace and path.is_dir()):
        raise FileExistsError(f"{path} exists")
    else:
        old = hidden_name(path, "old")
        path.rename(old)
        staged.rename(path)
        if old.is_symlink():
            old.unlink()
        else:
            shutil.rmtree(old)
    flush(path.parent)


def hidden_name(path: Path, purpose: str) -> Path:
    """Return an unused hidden name beside ``path``, on its file system, that nobody else can guess."""
    return path.with_name(f".{path.name[:60]}.{purpose}-{secrets.token_hex(8)}")


@contextmanager
def staged_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give the path of a new, empty file beside ``path`` to write to, and rename it to ``path`` at the end.

    The new file has a name of its own, so an entry that is there (a planted link, another process's file) is never
    written through. After an error nothing is left of it, and a file at ``path`` stays as it was.

    Args:
        path: Where the file belongs.
        suffix: Appended to the temporary name, for writers that look at it.
    """
    staged = hidden_name(path, "partial")
    staged = staged.with_name(staged.name + suffix)
    os.close(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
    try:
        yield staged
        publish(staged, path)
    finally:
        with suppress(FileNotFoundError):
            staged.unlink()


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a UTF-8 text file atomically.

    Names of files in another encoding, which UTF-8 cannot say, are written as escapes, which JSON reads back.

    Args:
        path: The file.
        text: Its content.
        private: Whether only the owner may read it.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_text(path, "kept")
        >>> path.read_text()
        'kept'
    """
    with staged_file(path) as staged:
        if private:
            staged.chmod(0o600)
        staged.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with staged_file(path) as staged:
        staged.write_bytes(content)


def make_private(path: Path) -> None:
    """Take the right to read or write a file from everybody but its owner; a file that others could read is logged.

    Copies of a run, out of an archive for example, do not keep who may read what.

    Raises:
        InputError: Others can read or write the file, and it belongs to somebody else.
    """
    if os.name != "posix" or not path.stat().st_mode & _OTHERS:
        return
    try:
        path.chmod(0o600)
    except PermissionError:
        raise InputError(f"{path}: others can read or write this file; its owner must `chmod 600` it") from None
    _log.warning("%s: others could read or write this file; now its owner alone can", path)


def write_json(path: Path, content: Any, *, private: bool = False) -> None:
    """Write indented JSON atomically.

    Raises:
        DivergedError: A figure is infinite or NaN, for which JSON has no word.
    """
    write_text(path, to_json(content, path.name, indent=2) + "\n", private=private)


def to_json(content: Any, name: str, indent: int | None = None) -> str:
    """Return content as JSON.

    Args:
        content: Numbers, strings, lists and dictionaries.
        name: What it is called in an error.
        indent: Spaces of an indentation; None for a single line.

    Raises:
        DivergedError: A figure is infinite or NaN; its key is named.

    Example:
        >>> to_json({"loss": [1.0, float("nan")]}, "result.json")
        Traceback (most recent call last):
        myosotis.engine.errors.DivergedError: result.json: the figure 'loss.1' is nan, so it cannot be reported
    """
    for key, figure in _figures(content, ()):
        if not math.isfinite(figure):
            raise DivergedError(f"{name}: the figure '{'.'.join(key)}' is {figure}, so it cannot be reported")
    return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)


def _figures(content: Any, key: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number with a fraction in JSON-like content, and where it stands."""
    if isinstance(content, float):
        yield key, content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from _figures(value, (*key, str(name)))
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            yield from _figures(value, (*key, str(index)))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing, or is not JSON in UTF-8.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: damaged: not JSON") from None


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    with staged_file(path) as staged:
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
            staged,
            dict(metadata) if metadata else None,
        )
