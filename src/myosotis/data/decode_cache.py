"""Decoded images in a memory-mapped file, whose digest is checked whenever it is read."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosotis.data.image_files import Background, names_below
from myosotis.engine.errors import InputError
from myosotis.engine.files import write_json

_FORMAT = 2  # raised whenever images are decoded differently, so that older files are not used
_STAGED = ".????????????????.npy"
_ZEROS = bytes(2**20)


class DecodeCache:
    """The decoded images of a folder.

    A cache that is damaged, or was written by a version that decoded differently, counts as absent. Several processes
    may fill it at once, each its own file; the last to finish wins. Files of killed processes are removed.

    Args:
        directory: Directory of the cache; created if missing.
        folder: Folder of images.
        files: Files to decode. Their names, sizes and modification times are part of the key.
        size: Side that images are scaled to.
        background: Colour behind transparent pixels.

    Raises:
        InputError: The directory lies in the folder of images, or cannot be written to.
    """

    def __init__(
        self, directory: Path, folder: Path, files: Sequence[Path], size: int | None, background: Background
    ) -> None:
        if directory.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{directory}: a cache inside the folder of images would be read as one of its classes")
        key = hashlib.sha256(f"{_FORMAT} {folder.resolve()} {size} {background}".encode("utf-8", "surrogatepass"))
        for name, path in zip(names_below(folder, files), files, strict=True):
            try:
                status = path.stat()
            except OSError:
                status = path.lstat()  # a link to nothing, which is refused where it is read
            line = f"{name} {status.st_size} {status.st_mtime_ns}\n"
            key.update(line.encode("utf-8", "surrogatepass"))
        self._images = directory / f"{key.hexdigest()[:32]}.npy"
        self._description = self._images.with_suffix(".json")
        self._count = len(files)
        self._staged = directory / f".{secrets.token_hex(8)}.npy"
        self._lock: int | None = None
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._staged.touch()
            self._staged.unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{directory}: cannot store decoded images: {error.strerror}") from None
        for path in directory.glob(_STAGED):
            _remove_stale(path)

    def read(self) -> tuple[Tensor, list[bool]] | None:
        """Return the images and, for each file, whether it could be read; None if the cache is missing or damaged."""
        try:
            description = json.loads(self._description.read_text(encoding="utf-8"))
            good, digest = description["good"], description["sha256"]
            if len(good) != self._count or digest != _digest(self._images):
                return None
            images = self._mapped(good)
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None
        # The digest is of whoever wrote the cache.
        return (images, good) if images.dtype == torch.uint8 and images.ndim == 4 and len(images) == sum(good) else None

    def create(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return an array to fill, whose disk space is reserved.

        Raises:
            OSError: The disk has not enough space.
        """
        self._lock = self._claimed()
        with os.fdopen(os.dup(self._lock), "r+b") as stream:
            np.lib.format.write_array_header_2_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
            stream.flush()
            offset = stream.tell()
            try:
                _reserve(self._lock, offset, int(np.prod(shape)))
            except OSError as error:
                self.abandon()
                reason = f"cannot store {int(np.prod(shape)):,} bytes of decoded images: {error.strerror}"
                raise OSError(error.errno, reason, str(self._images.parent)) from None
            return np.memmap(stream, np.uint8, "r+", offset, shape)

    def finish(self, planes: NDArray[np.uint8], good: Sequence[bool]) -> Tensor:
        """Publish the filled array, and return the images that could be read."""
        if isinstance(planes, np.memmap):
            planes.flush()
        digest = _digest(self._staged)
        self._staged.replace(self._images)
        self._release()
        write_json(self._description, {"good": list(good), "sha256": digest})
        return self._mapped(good)

    def abandon(self) -> None:
        """Remove the unfinished file."""
        self._staged.unlink(missing_ok=True)
        self._release()

    def _mapped(self, good: Sequence[bool]) -> Tensor:
        # Copy on write: torch needs writable memory, and the file must not change.
        return torch.from_numpy(np.load(self._images, mmap_mode="c", allow_pickle=False))[: sum(good)]

    def _claimed(self) -> int:
        """A new file, locked until it is complete or this process ends; a file without a lock is stale."""
        while True:
            descriptor = os.open(self._staged, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self._staged.exists():
                return descriptor
            # Another process removed it as stale before it was locked.
            os.close(descriptor)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _reserve(descriptor: int, offset: int, count: int) -> None:
    """Allocate the space of a file: writing to a memory-mapped file without space would kill the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, offset, count)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV):
                raise
    os.lseek(descriptor, offset, os.SEEK_SET)
    while count > 0:
        count -= os.write(descriptor, _ZEROS[: min(count, len(_ZEROS))])


def _remove_stale(path: Path) -> None:
    """Remove an unfinished file, unless the process that fills it is alive."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)
