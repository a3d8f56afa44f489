"""One process at a time writes to a path: a lock that ends with its process."""

import atexit
import errno
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from myosotis.engine.errors import InputError

# Record locks belong to a process as a whole and end when it closes any descriptor of the file, so each process keeps
# one descriptor per file and never opens the file a second time.
_held: dict[Path, tuple[int, int]] = {}


def lock_file(path: Path) -> Path:
    """Return the file that locks ``path``: hidden beside it, so that it exists before ``path`` does."""
    return path.with_name(f".{path.name}.lock")


def check_unlocked(path: Path) -> None:
    """Raise ``InputError`` if another living process holds the lock of ``path``; changes nothing.

    Args:
        path: A resolved path.
    """
    file = lock_file(path)
    if _is_held(file) or not file.is_file():
        return
    owner = _parse(file.read_bytes())
    if owner is not None and _may_live(owner):
        raise InputError(_refusal(path, owner))


def acquire(path: Path, *, take_over: bool = False) -> None:
    """Lock ``path`` for this process until :func:`release` or its end; does nothing if the process holds it already.

    A lock is stale, and taken over, if its process has ended on this host: its number is free, or belongs to a process
    that started later. Of a process on another host nothing can be known, so its lock is respected.

    Args:
        path: A resolved path, whose parent directory exists.
        take_over: Whether a lock that the system grants is free, whatever its file says of a host that may be gone. It
            is not where a file system locks for each host alone.

    Raises:
        InputError: Another process holds the lock; process, host and time are named.
    """
    file = lock_file(path)
    if _is_held(file):
        return
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            owner = _take(descriptor, take_over)
            if owner is not None:
                raise InputError(_refusal(path, owner))
            if not _is_current(descriptor, file):  # its owner removed it between our open and our lock
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(_myself()).encode(), 0)
        except BaseException:
            os.close(descriptor)
            raise
        _held[file] = (os.getpid(), descriptor)
        return


def release(path: Path) -> None:
    """Unlock ``path`` and remove the lock file; does nothing if this process does not hold it."""
    file = lock_file(path)
    if _is_held(file):
        _, descriptor = _held.pop(file)
        if _is_current(descriptor, file):
            file.unlink()
        os.close(descriptor)


@atexit.register
def _release_all() -> None:
    for file in list(_held):
        if _is_held(file):
            _, descriptor = _held.pop(file)
            if _is_current(descriptor, file):
                file.unlink()
            os.close(descriptor)


def _is_held(file: Path) -> bool:
    """Whether this very process holds the lock; a forked child inherits the table but no lock."""
    return file in _held and _held[file][0] == os.getpid()


def _is_current(descriptor: int, file: Path) -> bool:
    """Whether the locked file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _take(descriptor: int, take_over: bool) -> dict[str, Any] | None:
    """Lock an open lock file; return its owner where somebody else has it."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return _parse(os.pread(descriptor, 4096, 0)) or {}
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        take_over = False  # This file system has no locks; what the file says of its owner decides alone.
    if take_over:
        return None
    owner = _parse(os.pread(descriptor, 4096, 0))
    return owner if owner is not None and _may_live(owner) else None


def _myself() -> dict[str, Any]:
    process = psutil.Process()
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time(), "locked": time.time()}


def _parse(content: bytes) -> dict[str, Any] | None:
    """Read the owner from a lock file; None where the file is empty or torn."""
    try:
        owner = json.loads(content)
        return owner if {"host", "pid", "started", "locked"} <= set(owner) else None
    except (ValueError, TypeError):
        return None


def _may_live(owner: dict[str, Any]) -> bool:
    if owner["host"] != socket.gethostname():
        return True
    try:
        started = psutil.Process(owner["pid"]).create_time()
    except (psutil.Error, ValueError, TypeError):
        return False
    # The start is counted from the boot time, which moves a little when the clock is set.
    return bool(abs(started - float(owner["started"])) < 2 and owner["pid"] != os.getpid())


def _refusal(path: Path, owner: dict[str, Any]) -> str:
    if not owner:
        return f"{path}: another process is working on it"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["locked"]))
    text = f"{path}: process {owner['pid']} on {owner['host']} has been working on it since {since}"
    if owner["host"] != socket.gethostname():
        text += f"; if that process has ended, remove {lock_file(path)}"
    return text
