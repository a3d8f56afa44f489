"""Labelled images, decoded once and held as bytes: from folders, idx files, and torchvision's own readers."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from myosotis.data.decode_cache import DecodeCache
from myosotis.data.image_files import (
    SUFFIXES,
    WHITE,
    Background,
    Header,
    UnreadableImageError,
    as_array,
    files_below,
    read_header,
    read_picture,
    visible_entries,
)
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed

TORCHVISION = ("FashionMNIST", "KMNIST", "MNIST", "STL10", "SVHN")
"""Data sets that torchvision reads without unpickling anything. Its CIFAR files are pickles: see :func:`read_cifar`."""

OnError = Literal["stop", "skip"]

_SPLIT_NAMES = {"train": "train", "test": "t10k"}
_STATISTICS_CHUNK = 1000  # images counted at once
_DECODERS = 8  # threads; Pillow lets others work while it decodes


@dataclass(frozen=True)
class ImageSet:
    """Images with labels and names.

    Attributes:
        images: Bytes.
        labels: Of each image, the place of its class in ``classes``.
        names: Of each image, unique: what an instance list refers to, and what every random choice depends on.
        classes: The names of the classes.
        skipped: Files that could not be read and were left out on the user's word.
    """

    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, places: Sequence[int]) -> "ImageSet":
        """Return the images at ``places``, in that order."""
        where = torch.as_tensor(list(places), dtype=torch.long)
        return ImageSet(
            self.images[where], self.labels[where], tuple(self.names[place] for place in places), self.classes
        )

    def joined(self, other: "ImageSet", prefix: str) -> "ImageSet":
        """Return these images and then those of another set of the same classes, with a prefix before their names."""
        return ImageSet(
            torch.cat([self.images, other.images]),
            torch.cat([self.labels, other.labels]),
            (*self.names, *(f"{prefix}{name}" for name in other.names)),
            self.classes,
        )

    def pixels(self, device: torch.device | str = "cpu") -> Float[Tensor, "n channels height width"]:
        """Return the images as numbers in [0, 1]."""
        return to_unit(self.images.to(device))

    def digest(self, place: int) -> str:
        """Return the SHA-256 of an image's bytes and label: equal for equal images, whatever their names."""
        return self._hashed(place)[1].hex()

    @cached_property
    def hashes(self) -> tuple[tuple[bytes, bytes], ...]:
        """The SHA-256 of each image's bytes alone, and that of its bytes and label."""
        return tuple(self._hashed(place) for place in range(len(self)))

    def _hashed(self, place: int) -> tuple[bytes, bytes]:
        content = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
        content.update(self.images[place].numpy().tobytes())
        labelled = content.copy()
        labelled.update(str(int(self.labels[place])).encode())
        return content.digest(), labelled.digest()

    def shuffled(self, seed: int, purpose: str) -> list[int]:
        """Return the places in a random order that depends on the names alone, not on the order of the files."""
        return sorted(
            range(len(self)), key=lambda place: (derive_seed(seed, purpose, self.names[place]), self.names[place])
        )

    def places_of(self, names: Sequence[str]) -> list[int]:
        """Return where the images with these names are.

        Raises:
            KeyError: A name is not there.
        """
        known = {name: place for place, name in enumerate(self.names)}
        return [known[name] for name in names]


def to_unit(images: UInt8[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Return bytes as numbers in [0, 1]."""
    return images.float() / 255


def pixel_statistics(
    images: ImageSet, places: Int[Tensor, " k"] | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the standard deviation of each channel, in units of [0, 1] pixels, exactly.

    Args:
        images: Some images.
        places: Which of them count; all unless given.
    """
    chosen = torch.arange(len(images)) if places is None else places
    counts = torch.zeros(images.images.shape[1], 256, dtype=torch.float64)
    for part in chosen.split(_STATISTICS_CHUNK):
        some = images.images[part]
        for channel in range(len(counts)):
            counts[channel] += torch.bincount(some[:, channel].flatten().int(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    total = counts.sum(1)
    means = (counts * values).sum(1) / total
    variances = (counts * (values - means.unsqueeze(1)).square()).sum(1) / total
    # A channel that is the same everywhere would divide by nothing.
    return tuple(means.tolist()), tuple(max(value, 1 / 255) for value in variances.sqrt().tolist())


def read_image_folder(
    place: Path,
    size: int | None = None,
    *,
    on_error: OnError = "stop",
    cache: Path | None = None,
    background: Background = WHITE,
) -> ImageSet:
    """Read ``place/<class>/<image>``; classes and images are taken in the order of their names.

    Names that begin with a dot are left out, links to folders are followed. Images are turned as their orientation tag
    says.

    Args:
        place: The folder.
        size: Side in pixels to which the shorter side is scaled and the middle cut out; None takes images as they are.
        on_error: What a file that cannot be read does: stop, or be left out and named in ``skipped``.
        cache: A directory where decoded images are kept in a file that is mapped into memory, not read into it: for
            more images than memory holds, and for a second reading that decodes nothing. A folder of other files, or
            another size, gets a file of its own.
        background: What transparent pixels are laid on: a grey value, or red, green and blue.

    Returns:
        Images in colour, or in grey where every file is grey; an image's name is its path below ``place``.

    Raises:
        InputError: The folder, or one of its classes, holds no image, a file is not an image, or sizes differ.
    """
    if not place.is_dir():
        raise InputError(f"{place}: no such folder of images")
    classes = sorted(entry.name for entry in visible_entries(place) if entry.is_dir())
    if not classes:
        raise InputError(f"{place}: expected a folder for each class")
    for name in classes:
        _check_class_name(place, name)
    listed: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        found = files_below(place / name)
        if not found:
            raise InputError(f"{place / name}: holds no image; known are {', '.join(SUFFIXES)}")
        listed += [(path, label) for path in found]
    return _read_listed(place, listed, classes, size, on_error, cache, background)


def read_unlabelled_folder(
    place: Path,
    size: int | None = None,
    *,
    on_error: OnError = "stop",
    cache: Path | None = None,
    background: Background = WHITE,
) -> ImageSet:
    """Read every image below a folder, in the order of their names; all of them are of one class.

    Args:
        place: The folder.
        size: As for :func:`read_image_folder`.
        on_error: As for :func:`read_image_folder`.
        cache: As for :func:`read_image_folder`.
        background: As for :func:`read_image_folder`.

    Raises:
        InputError: The folder holds no image, a file is not an image, or sizes differ.
    """
    if not place.is_dir():
        raise InputError(f"{place}: no such folder of images")
    found = files_below(place)
    if not found:
        raise InputError(f"{place}: holds no image; known are {', '.join(SUFFIXES)}")
    return _read_listed(place, [(path, 0) for path in found], ["unlabelled"], size, on_error, cache, background)


def _read_listed(
    place: Path,
    listed: Sequence[tuple[Path, int]],
    classes: Sequence[str],
    size: int | None,
    on_error: OnError,
    cache: Path | None,
    background: Background,
) -> ImageSet:
    files = [path for path, _ in listed]
    store = None if cache is None else DecodeCache(cache, place, files, size, background)
    if store is not None and (kept := store.read()) is not None:
        images, good = kept
    else:
        images, good = _decode_all(files, size, on_error, store, background)
    bad = [path for (path, _), fine in zip(listed, good, strict=True) if not fine]
    skipped = tuple(path.relative_to(place).as_posix() for path in bad)
    if skipped and on_error == "stop":
        raise InputError(f"{place / skipped[0]}: is not an image that can be read")
    left = [pair for pair, fine in zip(listed, good, strict=True) if fine]
    labels = torch.tensor([label for _, label in left])
    for label, name in enumerate(classes):
        if not bool((labels == label).any()):
            where = place / name if len(classes) > 1 else place
            raise InputError(f"{where}: none of its images can be read")
    return ImageSet(
        images, labels, tuple(path.relative_to(place).as_posix() for path, _ in left), tuple(classes), skipped
    )


def _check_class_name(place: Path, name: str) -> None:
    """Names of classes stand in results and reports, which are text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{place}: the folder name {name!r} is not UTF-8; rename it") from None


def _decode_all(
    files: Sequence[Path], size: int | None, on_error: OnError, store: DecodeCache | None, background: Background
) -> tuple[Tensor, list[bool]]:
    """Decode files side by side; the result does not depend on how many at once."""
    headers = [_header_or_reason(path) for path in files]
    readable = [header for header in headers if isinstance(header, Header)]
    reason = next((header for header in headers if isinstance(header, UnreadableImageError)), None)
    if reason is not None and (on_error == "stop" or not readable):
        raise reason
    plain = isinstance(background, int)
    grey = all(header.grey and (plain or not header.transparent) for header in readable)
    width, height = (size, size) if size is not None else readable[0].size
    if size is None:
        for path, header in zip(files, headers, strict=True):
            if isinstance(header, Header) and header.size != (width, height):
                raise InputError(
                    f"{path}: is {header.size[0]}x{header.size[1]}, the first image is {width}x{height}; give a size"
                )
    shape = (len(readable), 1 if grey else 3, height, width)
    planes = np.empty(shape, np.uint8) if store is None else store.create(shape)
    rows = iter(range(len(readable)))
    good = [isinstance(header, Header) for header in headers]
    targets = [next(rows) if fine else None for fine in good]

    def decode(number: int) -> None:
        row = targets[number]
        if row is None:
            return
        try:
            array = as_array(read_picture(files[number]), size, str(files[number]), background)
        except UnreadableImageError:
            if on_error == "stop":
                raise
            good[number] = False
            return
        planes[row] = array[None] if grey else _in_colour(array).transpose(2, 0, 1)

    try:
        with ThreadPoolExecutor(_DECODERS) as pool:
            for _ in pool.map(decode, range(len(files))):
                pass
        # Where a header was fine and the body was not, close the gap row by row: all may be more than memory holds.
        left = [row for row, fine in zip(targets, good, strict=True) if row is not None and fine]
        for place, row in enumerate(left):
            if place != row:
                planes[place] = planes[row]
        images = torch.from_numpy(planes) if store is None else store.finish(planes, good)
    except BaseException:
        if store is not None:
            store.abandon()
        raise
    return images[: sum(good)], good


def _header_or_reason(path: Path) -> Header | UnreadableImageError:
    try:
        return read_header(path)
    except UnreadableImageError as error:
        return error


def read_idx(place: Path, split: str, classes: Sequence[str] | None = None) -> ImageSet:
    """Read the idx files of MNIST and its relatives, compressed or not.

    Args:
        place: Folder with ``train-images-idx3-ubyte[.gz]`` and the other three.
        split: ``"train"`` or ``"test"``.
        classes: Names of the classes; their numbers unless given.

    Returns:
        Images of one channel; the first is named ``train-00000`` or ``test-00000``.

    Raises:
        InputError: A file is missing or is not what it should be.
    """
    prefix = _SPLIT_NAMES[split]
    images = _read_array(place, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_array(place, f"{prefix}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise InputError(f"{place}: {len(images)} images but {len(labels)} labels in the {split} files")
    if not len(images):
        raise InputError(f"{place}: the {split} files hold no image")
    count = int(labels.max()) + 1
    names = tuple(classes) if classes is not None else tuple(str(number) for number in range(count))
    if len(names) < count:
        raise InputError(f"{place}: {count} classes, but {len(names)} names for them")
    return ImageSet(
        torch.from_numpy(images).unsqueeze(1),
        torch.from_numpy(labels).long(),
        tuple(f"{split}-{place:05d}" for place in range(len(labels))),
        names,
    )


def read_torchvision(dataset: str, place: Path, split: str, *, download: bool = False) -> ImageSet:
    """Read one of :data:`TORCHVISION`.

    Args:
        dataset: Its name.
        place: Where its files are, or will be.
        split: ``"train"`` or ``"test"``.
        download: Fetch what is missing.

    Raises:
        InputError: The data set is unknown or its files are not there.
    """
    import torchvision  # takes a second to load, and few jobs need it

    if dataset not in TORCHVISION:
        hint = (
            "; its files are pickles, which are not loaded: use the binary version, or a folder"
            if "CIFAR" in dataset
            else ""
        )
        raise InputError(f"data set '{dataset}': expected one of {', '.join(TORCHVISION)}{hint}")
    kind = getattr(torchvision.datasets, dataset)
    by_split = dataset in ("STL10", "SVHN")
    try:
        found = kind(place, **({"split": split} if by_split else {"train": split == "train"}), download=download)
    except RuntimeError as error:
        raise InputError(f"{place}: {str(error).splitlines()[0]}; 'download: true' fetches the data") from None
    images = torch.as_tensor(found.data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    labels = torch.as_tensor(found.labels if by_split else found.targets).long()
    classes = getattr(found, "classes", None) or [str(number) for number in range(int(labels.max()) + 1)]
    return ImageSet(images, labels, tuple(f"{split}-{row:05d}" for row in range(len(labels))), tuple(classes))


def read_instance_list(path: Path, known: ImageSet) -> list[int]:
    """Read a list of images, one name a line, and return where they are; ``#`` begins a comment.

    Raises:
        InputError: The file is missing or empty, or a line names no image, or one for the second time.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such instance list")
    places: list[int] = []
    by_name = {name: place for place, name in enumerate(known.names)}
    for number, line in enumerate(read_lines(path), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if name not in by_name:
            raise InputError(f"{path}, line {number}: no such image: {name}")
        if by_name[name] in places:
            raise InputError(f"{path}, line {number}: {name} stands there twice")
        places.append(by_name[name])
    if not places:
        raise InputError(f"{path}: names no image")
    return places


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8") from None


def _in_colour(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)


def _read_array(place: Path, name: str, dimensions: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    for path in (place / name, place / f"{name}.gz"):
        if path.is_file():
            break
    else:
        raise InputError(f"{place / name}[.gz]: no such file")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, found = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        if (zero, kind, found) != (0, 8, dimensions):
            raise InputError(f"{path}: is not an idx file of bytes with {dimensions} dimensions")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()
    except (OSError, EOFError, struct.error, zlib.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged") from None
