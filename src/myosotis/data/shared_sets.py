"""Image sets in memory that processes of a machine share, so that each need not read the files again."""

import fcntl
import json
import os
from collections.abc import Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from myosotis.data.images import ImageSet

_ALIGNMENT = 64  # bytes, as torch aligns its own memory


class SharedSets:
    """Image sets in anonymous memory, which is handed to a process when it is started.

    The memory has no name: nothing is left of it when the last process ends, killed or not. It cannot be changed; a
    process that writes to an image of :meth:`sets` gets a copy of that page. Only what is small goes through the pipe
    to a new process, as whoever starts it waits until it has read that.

    Args:
        sets: Image sets, which are copied.

    Raises:
        OSError: This system has no such memory, see :func:`can_share`, or not enough of it.
    """

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self._descriptor = _anonymous()
        with os.fdopen(self._descriptor, "wb", closefd=False) as stream:
            described = [_written(stream, images) for images in sets]
            self._offset = stream.tell()
            stream.write(json.dumps(described).encode())
        fcntl.fcntl(
            self._descriptor,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
        )

    def __reduce__(self) -> Any:
        return _received, (DupFd(self._descriptor), self._offset)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def sets(self) -> list[ImageSet]:
        """Return the sets; their pixels are those of the shared memory."""
        size = os.fstat(self._descriptor).st_size - self._offset
        with os.fdopen(self._descriptor, "rb", closefd=False) as stream:
            return [
                ImageSet(
                    _mapped(stream, np.uint8, *one["images"]),
                    _mapped(stream, np.int64, *one["labels"]),
                    tuple(one["names"]),
                    tuple(one["classes"]),
                    tuple(one["skipped"]),
                    tuple(Path(name) for name in one["files"]),
                )
                for one in json.loads(os.pread(self._descriptor, size, self._offset))
            ]


def can_share() -> bool:
    """Return whether this system has the memory that :class:`SharedSets` needs: Linux does, unless it is forbidden."""
    if not hasattr(os, "memfd_create"):
        return False
    try:
        os.close(_anonymous())
    except OSError:
        return False
    return True


def _anonymous() -> int:
    return os.memfd_create("myosotis", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def _received(descriptor: Any, offset: int) -> SharedSets:
    """The sets of another process, from the descriptor that it handed over."""
    shared = SharedSets.__new__(SharedSets)
    shared._descriptor, shared._offset = descriptor.detach(), offset
    return shared


def _written(stream: BinaryIO, images: ImageSet) -> dict[str, Any]:
    """Where the arrays of a set are, by offset and shape, and the rest of it."""
    return {
        "images": _put(stream, images.images),
        "labels": _put(stream, images.labels),
        "names": images.names,
        "classes": images.classes,
        "skipped": images.skipped,
        "files": [str(path) for path in images.files],
    }


def _put(stream: BinaryIO, values: Tensor) -> tuple[int, tuple[int, ...]]:
    stream.write(bytes(-stream.tell() % _ALIGNMENT))
    offset = stream.tell()
    stream.write(np.ascontiguousarray(values.numpy()).data)
    return offset, tuple(values.shape)


def _mapped(stream: BinaryIO, dtype: Any, offset: int, shape: Sequence[int]) -> Tensor:
    # Copy on write: torch needs writable memory.
    return torch.from_numpy(np.memmap(stream, dtype, "c", offset, tuple(shape)))
