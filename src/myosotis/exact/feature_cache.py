"""Features of a frozen body on disk, computed once per image, until somebody asks to forget the image."""

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from myosotis.engine.errors import InputError
from myosotis.engine.files import make_private, staged_file
from myosotis.engine.processes import is_main_process, wait_for_everyone

Compute = Callable[[UInt8[Tensor, "k channels height width"]], Int[Tensor, "k d"]]


class FeatureCache:
    """Features on the grid by the pixels of an image, in one memory-mapped file for a body and a grid.

    Every row carries a digest of itself: one that is damaged, or was cut off, counts as absent and is computed again.

    Args:
        directory: Directory of the cache; created if missing. Only its owner can read the file.
        body: Hash of the body.
        bits: Bits of the grid.
        width: Number of features, d.

    Raises:
        InputError: The directory cannot be written to.
    """

    def __init__(self, directory: Path, body: str, bits: int, width: int) -> None:
        self._path = directory / f"{body[:32]}-{bits}.features"
        self._type = np.dtype([("image", "V32"), ("check", "V32"), ("row", "<i4", (width,))])
        try:
            directory.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            make_private(self._path)
        except OSError as error:
            raise InputError(f"feature cache {directory}: {error.strerror or error}") from None

    def rows(self, images: UInt8[Tensor, "n channels height width"], compute: Compute) -> Int[Tensor, "n d"]:
        """Return the features of images; those that are not there are computed and added.

        Args:
            images: Pixels.
            compute: Computes features of images; every process calls it.
        """
        keys = [_key(image) for image in images]
        known = self._read(set(keys))
        # Every process reads before the main one writes.
        wait_for_everyone()
        missing = [index for index, key in enumerate(keys) if key not in known]
        if missing:
            computed = compute(images[missing])
            for index, row in zip(missing, computed, strict=True):
                known[keys[index]] = row.numpy().astype("<i4")
            if is_main_process():
                self._append({keys[index]: known[keys[index]] for index in missing})
            wait_for_everyone()
        return torch.from_numpy(np.stack([known[key] for key in keys]).astype(np.int32))

    def forget(self, images: UInt8[Tensor, "n channels height width"]) -> int:
        """Remove images, whatever their class, and return how many rows went; the file is written anew."""
        gone = {_key(image) for image in images}
        with self._locked():
            content = self._content()
            kept = content[[bytes(entry) not in gone for entry in content["image"]]]
            count = len(content) - len(kept)
            if count:
                with staged_file(self._path) as staged:
                    staged.chmod(0o600)
                    staged.write_bytes(kept.tobytes())
            return count

    def _read(self, keys: set[bytes]) -> dict[bytes, NDArray[Any]]:
        with self._locked():
            content = self._content()
            rows = {bytes(entry): row for row, entry in enumerate(content["image"])}
            found = {}
            for key in keys & rows.keys():
                entry = content[rows[key]]
                row = np.array(entry["row"])
                if _check(key, row) == bytes(entry["check"]):
                    found[key] = row
            return found

    def _append(self, rows: dict[bytes, NDArray[Any]]) -> None:
        entries = np.array([(key, _check(key, row), row) for key, row in rows.items()], dtype=self._type)
        with self._locked(), self._path.open("r+b") as stream:
            # What a killed process left of an entry is written over.
            stream.seek(len(self._content()) * self._type.itemsize)
            stream.truncate()
            stream.write(entries.tobytes())

    def _content(self) -> NDArray[Any]:
        count = self._path.stat().st_size // self._type.itemsize
        if not count:
            return np.zeros(0, dtype=self._type)
        return np.memmap(self._path, dtype=self._type, mode="r", shape=(count,))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the cache: two jobs may share it."""
        descriptor = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _key(image: UInt8[Tensor, "channels height width"]) -> bytes:
    content = image.cpu().contiguous()
    return hashlib.sha256(str(tuple(content.shape)).encode() + content.numpy().tobytes()).digest()


def _check(key: bytes, row: NDArray[Any]) -> bytes:
    return hashlib.sha256(key + np.ascontiguousarray(row, dtype="<i4").tobytes()).digest()


def cached_rows(cache: FeatureCache | None, images: Tensor, compute: Compute) -> Int[Tensor, "n d"]:
    """Return the features of images, from a cache if there is one."""
    return compute(images) if cache is None else cache.rows(images, compute)
