"""Labelled images held as bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seeds

_STATISTICS_CHUNK = 1000  # images counted at once


@dataclass(frozen=True)
class ImageSet:
    """Images with labels and names.

    Attributes:
        images: Pixels as bytes.
        labels: Class of each image, an index into ``classes``.
        names: Unique name of each image: instance lists refer to it, and every random choice depends on it.
        classes: Names of the classes.
        skipped: Files that could not be read and that the user allowed to skip.
        files: File of each image; empty where they do not come from files of their own.
    """

    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> "ImageSet":
        """Return the images at ``indices``, in that order."""
        rows = torch.as_tensor(list(indices), dtype=torch.long)
        return ImageSet(
            self.images[rows],
            self.labels[rows],
            tuple(self.names[index] for index in indices),
            self.classes,
            files=tuple(self.files[index] for index in indices) if self.files else (),
        )

    def joined(self, other: "ImageSet", prefix: str) -> "ImageSet":
        """Return these images and then those of another set of the same classes, with a prefix before their names."""
        return ImageSet(
            torch.cat([self.images, other.images]),
            torch.cat([self.labels, other.labels]),
            (*self.names, *(f"{prefix}{name}" for name in other.names)),
            self.classes,
            files=(*self.files, *other.files) if self.files and other.files else (),
        )

    def pixels(self, device: torch.device | str = "cpu") -> Float[Tensor, "n channels height width"]:
        """Return the images as float32 in [0, 1]."""
        return to_unit(self.images.to(device))

    def digest(self, index: int) -> str:
        """Return the SHA-256 of an image's bytes and label: equal for equal images, whatever their names."""
        return self._hashed(index)[1].hex()

    @cached_property
    def hashes(self) -> tuple[tuple[bytes, bytes], ...]:
        """The SHA-256 of each image's bytes alone, and that of its bytes and label."""
        return tuple(self._hashed(index) for index in range(len(self)))

    def file_hashes(self) -> tuple[bytes, ...]:
        """Return the SHA-256 of the bytes of each image's file; nothing where :attr:`files` is empty.

        Raises:
            InputError: A file cannot be read any more.
        """
        try:
            return tuple(hashlib.sha256(path.read_bytes()).digest() for path in self.files)
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None

    def _hashed(self, index: int) -> tuple[bytes, bytes]:
        content = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
        content.update(self.images[index].numpy().tobytes())
        labelled = content.copy()
        labelled.update(str(int(self.labels[index])).encode())
        return content.digest(), labelled.digest()

    def shuffled(self, seed: int, purpose: str) -> list[int]:
        """Return the indices in a random order that depends on the names alone, not on the order of the files."""
        seeds = derive_seeds(seed, purpose, self.names)
        return sorted(range(len(self)), key=lambda index: (seeds[index], self.names[index]))


def to_unit(images: UInt8[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return bytes as float32 in [0, 1]."""
    return images.float() / 255


def pixel_statistics(
    images: ImageSet, indices: Int[Tensor, " k"] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, in units of [0, 1] pixels, exactly.

    Args:
        images: Images.
        indices: Indices of the images that count; all unless given.
    """
    selected = torch.arange(len(images)) if indices is None else indices
    counts = torch.zeros(images.images.shape[1], 256, dtype=torch.float64)
    for part in selected.split(_STATISTICS_CHUNK):
        pixels = images.images[part]
        for channel in range(len(counts)):
            counts[channel] += torch.bincount(pixels[:, channel].flatten().int(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    total = counts.sum(1)
    means = (counts * values).sum(1) / total
    variances = (counts * (values - means.unsqueeze(1)).square()).sum(1) / total
    # A constant channel would divide by zero.
    return tuple(means.tolist()), tuple(max(value, 1 / 255) for value in variances.sqrt().tolist())
