"""Labelled images, decoded once and held as bytes: from folders, idx files, and torchvision's own readers."""

import gzip
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Files of a folder that are read as images."""

TORCHVISION = ("FashionMNIST", "KMNIST", "MNIST", "STL10", "SVHN")
"""Data sets that torchvision reads without unpickling anything. Its CIFAR files are pickles: use a folder instead."""

_SPLIT_NAMES = {"train": "train", "test": "t10k"}


@dataclass(frozen=True)
class ImageSet:
    """Images with labels and names.

    Attributes:
        images: Bytes.
        labels: Of each image, the place of its class in ``classes``.
        names: Of each image, unique: what an instance list refers to, and what every random choice depends on.
        classes: The names of the classes.
    """

    images: UInt8[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, places: Sequence[int]) -> "ImageSet":
        """Return the images at ``places``, in that order."""
        where = torch.as_tensor(list(places), dtype=torch.long)
        return ImageSet(
            self.images[where], self.labels[where], tuple(self.names[place] for place in places), self.classes
        )

    def pixels(self, device: torch.device | str = "cpu") -> Float[Tensor, "n channels height width"]:
        """Return the images as numbers in [0, 1]."""
        return to_unit(self.images.to(device))

    def digest(self, place: int) -> str:
        """Return the SHA-256 of an image's bytes and label: equal for equal images, whatever their names."""
        content = hashlib.sha256(str(tuple(self.images.shape[1:])).encode())
        content.update(self.images[place].numpy().tobytes())
        content.update(str(int(self.labels[place])).encode())
        return content.hexdigest()

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


def read_image_folder(place: Path, size: int | None = None) -> ImageSet:
    """Read ``place/<class>/<image>``; classes and images are taken in the order of their names.

    Args:
        place: The folder.
        size: Side in pixels to which the shorter side is scaled and the middle cut out; None takes images as they are.

    Returns:
        Images in colour, or in grey where every file is grey; an image's name is its path below ``place``.

    Raises:
        InputError: The folder, or one of its classes, holds no image, a file is not an image, or sizes differ.
    """
    if not place.is_dir():
        raise InputError(f"{place}: no such folder of images")
    classes = sorted(folder.name for folder in place.iterdir() if folder.is_dir())
    if not classes:
        raise InputError(f"{place}: expected a folder for each class")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(path for path in (place / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{place / name}: holds no image; known are {', '.join(SUFFIXES)}")
        files += found
        labels += [label] * len(found)
    arrays = [_decoded(path, size) for path in files]
    grey = all(array.ndim == 2 for array in arrays)
    planes = [array[None] if grey else _in_colour(array).transpose(2, 0, 1) for array in arrays]
    shape = planes[0].shape
    for path, plane in zip(files, planes, strict=True):
        if plane.shape != shape:
            raise InputError(
                f"{path}: is {plane.shape[2]}x{plane.shape[1]}, the first image is {shape[2]}x{shape[1]}; give a size"
            )
    return ImageSet(
        torch.from_numpy(np.stack(planes)),
        torch.tensor(labels),
        tuple(path.relative_to(place).as_posix() for path in files),
        tuple(classes),
    )


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
        hint = "; its files are pickles, which are not loaded: use a folder of images" if "CIFAR" in dataset else ""
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


def _decoded(path: Path, size: int | None) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    try:
        with Image.open(path) as picture:
            if picture.mode in ("I", "F", "I;16B", "I;16L"):
                raise InputError(f"{path}: has pixels of more than 16 bits, or of an unusual kind ({picture.mode})")
            if picture.mode == "I;16":
                # Pillow would cut at 255 instead of scaling.
                image = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            else:
                image = picture.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
    except (UnidentifiedImageError, OSError):
        raise InputError(f"{path}: is not an image that can be read") from None
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)


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
    except (OSError, EOFError, struct.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged") from None
