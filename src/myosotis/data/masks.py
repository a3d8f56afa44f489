"""Images with a class for every pixel: from folders of pairs, PASCAL VOC, ADE20K and CamVid."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor

from myosotis.data.image_files import (
    SUFFIXES,
    WHITE,
    Background,
    as_array,
    one_if_large,
    read_header,
    read_picture,
    visible_entries,
)
from myosotis.engine.errors import InputError, SettingsError

IGNORE = 255
"""Value of pixels that are ignored in losses and figures."""

MAX_CLASSES = IGNORE - 1
"""Largest number of classes in a mask of bytes, beside the background and ignored pixels."""

VOC_CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]
CAMVID_CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)

_DECODERS = 8  # threads; Pillow lets others work while it decodes
_KEPT = 4 * 2**30  # bytes of decoded images that are cached by default
_VALUES = 256


@dataclass(frozen=True)
class MaskedImages:
    """Images and their masks.

    A mask holds 0 where nothing is labelled, n for ``classes[n - 1]``, and 255 for ignored pixels.

    Attributes:
        images: Bytes of each image, (channels, height, width); sizes may differ.
        masks: Bytes of each mask, (height, width).
        names: Unique name of each image; every random choice depends on it.
        classes: Names of the classes.
        areas: Number of pixels of every value in every mask.
        sizes: Height and width of each image.
    """

    images: Sequence[Tensor]
    masks: Sequence[Tensor]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    areas: Int[Tensor, "n values"]
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return len(self.images[0])

    def label_sets(self, least: int = 1) -> list[frozenset[int]]:
        """Return the classes of each image, by their values in the masks.

        Args:
            least: Number of pixels from which a class counts.
        """
        present = self.areas[:, 1 : len(self.classes) + 1] >= least
        return [frozenset((row.nonzero().flatten() + 1).tolist()) for row in present]

    def subset(self, indices: Sequence[int]) -> "MaskedImages":
        """Return the images at ``indices``, in that order."""
        return MaskedImages(
            _subset(self.images, indices),
            _subset(self.masks, indices),
            tuple(self.names[index] for index in indices),
            self.classes,
            self.areas[list(indices)],
            tuple(self.sizes[index] for index in indices),
        )

    @cached_property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """The SHA-256 of each image alone, and that of the image with its mask."""
        digests = []
        for image, mask in zip(self.images, self.masks, strict=True):
            content = hashlib.sha256(str(tuple(image.shape)).encode())
            content.update(image.contiguous().numpy().tobytes())
            masked = content.copy()
            masked.update(mask.contiguous().numpy().tobytes())
            digests.append((content.hexdigest(), masked.hexdigest()))
        return tuple(digests)

    @property
    def digests(self) -> tuple[str, ...]:
        """The SHA-256 of each image with its mask."""
        return tuple(masked for _, masked in self.hashes)


def resident(
    images: Sequence[UInt8[Tensor, "channels _ _"]],
    masks: Sequence[UInt8[Tensor, "_ _"]],
    names: Sequence[str],
    classes: Sequence[str],
) -> MaskedImages:
    """Return images that are in memory already.

    Raises:
        SettingsError: There are too many classes for masks of bytes.
        ValueError: Lengths or sizes do not match, a name occurs twice, or a mask holds a value of no class.

    Example:
        >>> masked = resident([torch.zeros(1, 2, 2).byte()], [torch.tensor([[0, 1], [1, 255]]).byte()], ["a"], ["dog"])
        >>> masked.label_sets()
        [frozenset({1})]
    """
    if len(classes) > MAX_CLASSES:
        raise SettingsError(f"{len(classes)} classes; a mask of bytes has room for {MAX_CLASSES}")
    if not len(images) == len(masks) == len(names):
        raise ValueError(f"{len(images)} images, {len(masks)} masks and {len(names)} names do not match")
    if len(set(names)) < len(names):
        raise ValueError("names must be unique")
    for name, image, mask in zip(names, images, masks, strict=True):
        if image.shape[1:] != mask.shape:
            raise ValueError(f"{name}: the mask is {_size(mask)}, the image {_size(image)}")
    areas = torch.stack([_count(mask) for mask in masks])
    sizes = tuple((mask.shape[0], mask.shape[1]) for mask in masks)
    masked = MaskedImages(images, masks, tuple(names), tuple(classes), areas, sizes)
    _check_values(masked, masked.names)
    return masked


class Decoded(Sequence[Tensor]):
    """Files that are decoded on access, and cached while they fit.

    Args:
        files: Files of images or masks.
        read: Function that decodes a file.
        keep: Bytes that may be cached.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Tensor], keep: int = _KEPT) -> None:
        self._files, self._read = list(files), read
        self._left = keep
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        stored = self._kept.get(index)
        if stored is not None:
            return stored
        tensor = self._read(self._files[index])
        # Two threads may decode the same file at once; both results are the same.
        if tensor.numel() <= self._left and index not in self._kept:
            self._left -= tensor.numel()
            self._kept[index] = tensor
        return tensor

    def __iter__(self) -> Iterator[Tensor]:
        return (self[index] for index in range(len(self)))

    def subset(self, indices: Sequence[int]) -> "Decoded":
        """Return the files at ``indices``, decoded on access; decoded tensors stay cached."""
        tensor = Decoded([self._files[index] for index in indices], self._read, self._left)
        tensor._kept = {number: self._kept[index] for number, index in enumerate(indices) if index in self._kept}
        return tensor


def _subset(parts: Sequence[Tensor], indices: Sequence[int]) -> Sequence[Tensor]:
    return parts.subset(indices) if isinstance(parts, Decoded) else [parts[index] for index in indices]


def read_pairs(
    pairs: Sequence[tuple[Path, Path]],
    names: Sequence[str],
    classes: Sequence[str],
    values: Mapping[int, int],
    size: tuple[int, int] | None = None,
    grey: bool = False,
    keep: int = _KEPT,
    background: Background = WHITE,
) -> MaskedImages:
    """Read images and masks; masks are read at once, images on access.

    Both are turned upright by their orientation tags.

    Args:
        pairs: Files of image and mask.
        names: Unique name of each pair.
        classes: Names of the classes.
        values: Mapping from the values in mask files to 0, the number of a class from 1, or 255.
        size: Height and width that both are scaled to, masks by the nearest pixel.
        grey: Whether images have one channel instead of three.
        keep: Bytes of decoded images, and of decoded masks, that may be cached.
        background: Colour behind transparent pixels: a grey value, or red, green and blue.

    Raises:
        InputError: A file is missing or damaged, an image and its mask differ in size, a mask holds another value.
        SettingsError: There are too many classes for masks of bytes.
    """
    _check_pairs(pairs, names, classes)
    table = torch.zeros(_VALUES, dtype=torch.long) - 1
    for value, number in values.items():
        table[value] = number

    def read_image(path: Path) -> Tensor:
        whole = Image.fromarray(as_array(read_picture(path), None, str(path), background))
        whole = whole.convert("L" if grey else "RGB")
        if size is not None:
            whole = whole.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        array = np.array(whole)
        return torch.from_numpy(array).unsqueeze(0) if grey else torch.from_numpy(array).permute(2, 0, 1).contiguous()

    def read_mask(path: Path) -> Tensor:
        image = read_picture(path)
        if image.mode not in ("L", "P", "1", "I", "I;16"):
            raise InputError(f"{path}: has the image mode {image.mode}; expected one number per pixel")
        if size is not None:
            image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
        raw = torch.from_numpy(np.array(image).astype(np.int64))
        if int(raw.max()) >= _VALUES or int(raw.min()) < 0:
            raise InputError(f"{path}: holds the value {int(raw.max())}; values go up to {_VALUES - 1}")
        numbers = table[raw]
        if int(numbers.min()) < 0:
            wrong = int(raw[numbers < 0][0])
            raise InputError(f"{path}: holds the value {wrong}, which is not a class; known: {_listed(values)}")
        return numbers.byte()

    masks = Decoded([mask for _, mask in pairs], read_mask, keep)

    def measure(index: int) -> tuple[Tensor, tuple[int, int]]:
        image, mask = pairs[index]
        mask_size = read_header(mask).size
        with one_if_large(mask_size):
            pixels = masks[index]
        image_size = read_header(image).size
        if image_size != mask_size:
            raise InputError(f"{mask}: is {_sides(mask_size)}, its image {_sides(image_size)}")
        return _count(pixels), (pixels.shape[0], pixels.shape[1])

    with ThreadPoolExecutor(_DECODERS) as pool:
        measured = list(pool.map(measure, range(len(pairs))))
    images = Decoded([image for image, _ in pairs], read_image, keep)
    areas, sizes = torch.stack([part for part, _ in measured]), tuple(part for _, part in measured)
    return MaskedImages(images, masks, tuple(names), tuple(classes), areas, sizes)


def _check_pairs(pairs: Sequence[tuple[Path, Path]], names: Sequence[str], classes: Sequence[str]) -> None:
    """Raise unless all files exist, names are unique and there are not too many classes."""
    if len(classes) > MAX_CLASSES:
        raise SettingsError(f"{len(classes)} classes; a mask of bytes has room for {MAX_CLASSES}")
    if not pairs:
        raise InputError("no images given")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"the image {twice!r} is listed twice")
    for image, mask in pairs:
        for path, kind in ((image, "image"), (mask, "mask")):
            if not path.is_file():
                raise InputError(f"{path}: no such {kind}")


def pair_folders(images: Path, masks: Path, listed: Sequence[str] | None = None) -> list[tuple[Path, Path]]:
    """Return images with their masks of the same name.

    Args:
        images: Folder of images.
        masks: Folder of masks; names may differ in the suffix.
        listed: Names without suffix of the pairs to take, in any order; all images unless given.

    Raises:
        InputError: A folder is missing or empty, or an image has no mask.
    """
    files, labels = _by_stem(images), _by_stem(masks)
    names = sorted(files) if listed is None else sorted(listed)
    for name in names:
        if name not in files:
            raise InputError(f"{images}: holds no image {name!r}")
        if name not in labels:
            raise InputError(f"{files[name]}: has no mask in {masks}")
    return [(files[name], labels[name]) for name in names]


def voc_pairs(folder: Path, split: str) -> list[tuple[Path, Path]]:
    """Return the pairs of PASCAL VOC 2012: ``JPEGImages``, ``SegmentationClassAug`` if it exists, and a list.

    Args:
        folder: Directory ``VOC2012``.
        split: List of ``ImageSets/Segmentation``, e.g. ``"train_aug"``; lines hold a name, or an image and its mask.

    Raises:
        InputError: Something is missing.
    """
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise InputError(f"{listing}: no such list")
    masks = folder / "SegmentationClassAug"
    if not masks.is_dir():
        masks = folder / "SegmentationClass"
    pairs = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if len(words) > 2:
            raise InputError(f"{listing}, line {number}: expected a name, or an image and its mask")
        if len(words) == 2:
            pairs.append((folder / words[0].lstrip("/"), folder / words[1].lstrip("/")))
        elif words:
            pairs.append((folder / "JPEGImages" / f"{words[0]}.jpg", masks / f"{words[0]}.png"))
    return sorted(pairs)


def _by_stem(folder: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in _files(folder):
        if path.stem in paths:
            raise InputError(
                f"{folder}: holds {paths[path.stem].name} and {path.name}, which differ only in the suffix"
            )
        paths[path.stem] = path
    return paths


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    return sorted(path for path in visible_entries(folder) if path.suffix.lower() in SUFFIXES)


def _count(mask: Tensor) -> Tensor:
    return torch.bincount(mask.flatten().int(), minlength=_VALUES)


def _check_values(images: MaskedImages, names: Sequence[str]) -> None:
    wrong = images.areas[:, len(images.classes) + 1 : IGNORE].nonzero()
    if len(wrong):
        index, offset = wrong[0].tolist()
        value = len(images.classes) + 1 + offset
        raise ValueError(f"{names[index]}: holds the value {value}; there are {len(images.classes)} classes")


def _listed(values: Mapping[int, int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered)) if len(ordered) <= 12 else f"{ordered[0]} to {ordered[-1]}"


def _size(tensor: Tensor) -> str:
    height, width = tensor.shape[-2:]
    return f"{width}x{height}"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
