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

from myosotis.data.image_files import SUFFIXES, WHITE, Background, as_array, read_header, read_picture, visible_entries
from myosotis.engine.errors import InputError, SettingsError

IGNORE = 255
"""The value of pixels that count neither in a loss nor in a figure."""

MOST_CLASSES = IGNORE - 1
"""As many classes as a mask of bytes can tell apart, beside the background and pixels that do not count."""

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
_KEPT = 4 * 2**30  # bytes of decoded images that are kept unless told otherwise
_VALUES = 256


@dataclass(frozen=True)
class MaskedImages:
    """Images and their masks.

    A mask holds 0 where nothing is labelled, n for ``classes[n - 1]``, and 255 where a pixel does not count.

    Attributes:
        images: Bytes, (channels, height, width) each; sizes may differ.
        masks: Bytes, (height, width) each.
        names: Unique; what every random choice depends on.
        classes: Their names.
        areas: Pixels of every value in every mask.
        sizes: Height and width of each.
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
        """Of the images."""
        return len(self.images[0])

    def label_sets(self, least: int = 1) -> list[frozenset[int]]:
        """Return the classes, as they stand in the masks, of which each image has at least so many pixels.

        Args:
            least: Pixels.
        """
        present = self.areas[:, 1 : len(self.classes) + 1] >= least
        return [frozenset((row.nonzero().flatten() + 1).tolist()) for row in present]

    def subset(self, places: Sequence[int]) -> "MaskedImages":
        """Return the images at ``places``, in that order."""
        return MaskedImages(
            _some(self.images, places),
            _some(self.masks, places),
            tuple(self.names[place] for place in places),
            self.classes,
            self.areas[list(places)],
            tuple(self.sizes[place] for place in places),
        )

    @cached_property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """The SHA-256 of each image alone, and that of the image with its mask."""
        found = []
        for image, mask in zip(self.images, self.masks, strict=True):
            content = hashlib.sha256(str(tuple(image.shape)).encode())
            content.update(image.contiguous().numpy().tobytes())
            masked = content.copy()
            masked.update(mask.contiguous().numpy().tobytes())
            found.append((content.hexdigest(), masked.hexdigest()))
        return tuple(found)

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
        SettingsError: There are more classes than bytes can tell apart.
        ValueError: Lengths or sizes do not match, a name stands there twice, or a mask holds a value of no class.

    Example:
        >>> found = resident([torch.zeros(1, 2, 2).byte()], [torch.tensor([[0, 1], [1, 255]]).byte()], ["a"], ["dog"])
        >>> found.label_sets()
        [frozenset({1})]
    """
    if len(classes) > MOST_CLASSES:
        raise SettingsError(f"{len(classes)} classes; a mask of bytes has room for {MOST_CLASSES}")
    if not len(images) == len(masks) == len(names):
        raise ValueError(f"{len(images)} images, {len(masks)} masks and {len(names)} names do not match")
    if len(set(names)) < len(names):
        raise ValueError("names must be unique")
    for name, image, mask in zip(names, images, masks, strict=True):
        if image.shape[1:] != mask.shape:
            raise ValueError(f"{name}: the mask is {_size(mask)}, the image {_size(image)}")
    areas = torch.stack([_count(mask) for mask in masks])
    sizes = tuple((mask.shape[0], mask.shape[1]) for mask in masks)
    found = MaskedImages(images, masks, tuple(names), tuple(classes), areas, sizes)
    _check_values(found, found.names)
    return found


class Decoded(Sequence[Tensor]):
    """Files that are decoded when they are asked for, and kept as long as they fit.

    Args:
        files: Of the images or masks.
        read: Decodes one.
        keep: Bytes that may be kept.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Tensor], keep: int = _KEPT) -> None:
        self._files, self._read = list(files), read
        self._left = keep
        self._kept: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, place: int) -> Tensor: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Tensor]: ...

    def __getitem__(self, place: int | slice) -> Tensor | Sequence[Tensor]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        known = self._kept.get(place)
        if known is not None:
            return known
        found = self._read(self._files[place])
        # Two threads may decode the same file at once; both results are the same.
        if found.numel() <= self._left and place not in self._kept:
            self._left -= found.numel()
            self._kept[place] = found
        return found

    def __iter__(self) -> Iterator[Tensor]:
        return (self[place] for place in range(len(self)))

    def some(self, places: Sequence[int]) -> "Decoded":
        """Return those at ``places``, decoded when they are asked for; what is decoded already is kept."""
        found = Decoded([self._files[place] for place in places], self._read, self._left)
        found._kept = {at: self._kept[place] for at, place in enumerate(places) if place in self._kept}
        return found


def _some(parts: Sequence[Tensor], places: Sequence[int]) -> Sequence[Tensor]:
    return parts.some(places) if isinstance(parts, Decoded) else [parts[place] for place in places]


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
    """Read images and masks; masks are looked at once, images when they are needed.

    Both are turned as their orientation tags say.

    Args:
        pairs: Image and mask.
        names: Unique, one for each pair.
        classes: Their names.
        values: From what a mask file holds to 0, the number of a class from 1, or 255.
        size: Height and width to which both are scaled, masks by the nearest pixel.
        grey: Read images with one channel instead of three.
        keep: Bytes of decoded images, and as many of masks, that may stay in memory.
        background: What transparent pixels of images are laid on: a grey value, or red, green and blue.

    Raises:
        InputError: A file is missing or damaged, an image and its mask differ in size, a mask holds another value.
        SettingsError: There are more classes than bytes can tell apart.
    """
    if len(classes) > MOST_CLASSES:
        raise SettingsError(f"{len(classes)} classes; a mask of bytes has room for {MOST_CLASSES}")
    if not pairs:
        raise InputError("there is no image")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"the image {twice!r} is listed twice")
    for image, mask in pairs:
        for path, what in ((image, "image"), (mask, "mask")):
            if not path.is_file():
                raise InputError(f"{path}: no such {what}")
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
            raise InputError(f"{path}: is {image.mode}; a mask has one number for each pixel")
        if size is not None:
            image = image.resize((size[1], size[0]), Image.Resampling.NEAREST)
        raw = torch.from_numpy(np.array(image).astype(np.int64))
        if int(raw.max()) >= _VALUES or int(raw.min()) < 0:
            raise InputError(f"{path}: holds the value {int(raw.max())}; values go up to {_VALUES - 1}")
        numbers = table[raw]
        if int(numbers.min()) < 0:
            wrong = int(raw[numbers < 0][0])
            raise InputError(f"{path}: holds the value {wrong}, which is no class; there are {_told(values)}")
        return numbers.byte()

    masks = Decoded([mask for _, mask in pairs], read_mask, keep)

    def look(place: int) -> tuple[Tensor, tuple[int, int]]:
        image, mask = pairs[place]
        found = masks[place]
        image_size, mask_size = read_header(image).size, read_header(mask).size
        if image_size != mask_size:
            raise InputError(f"{mask}: is {_sides(mask_size)}, its image {_sides(image_size)}")
        return _count(found), (found.shape[0], found.shape[1])

    with ThreadPoolExecutor(_DECODERS) as pool:
        seen = list(pool.map(look, range(len(pairs))))
    images = Decoded([image for image, _ in pairs], read_image, keep)
    areas, sizes = torch.stack([one for one, _ in seen]), tuple(one for _, one in seen)
    return MaskedImages(images, masks, tuple(names), tuple(classes), areas, sizes)


def pair_folders(images: Path, masks: Path, listed: Sequence[str] | None = None) -> list[tuple[Path, Path]]:
    """Return images with their masks of the same name.

    Args:
        images: A folder.
        masks: A folder; names may differ in the suffix.
        listed: Names without suffix that take part, in any order; all images unless given.

    Raises:
        InputError: A folder is missing or empty, or an image has no mask.
    """
    found, labels = _by_stem(images), _by_stem(masks)
    wanted = sorted(found) if listed is None else sorted(listed)
    for name in wanted:
        if name not in found:
            raise InputError(f"{images}: holds no image {name!r}")
        if name not in labels:
            raise InputError(f"{found[name]}: has no mask in {masks}")
    return [(found[name], labels[name]) for name in wanted]


def voc_pairs(place: Path, split: str) -> list[tuple[Path, Path]]:
    """Return the pairs of PASCAL VOC 2012: ``JPEGImages``, ``SegmentationClassAug`` where it is there, and a list.

    Args:
        place: The directory ``VOC2012``.
        split: A list of ``ImageSets/Segmentation``, e.g. ``"train_aug"``; lines hold a name, or an image and its mask.

    Raises:
        InputError: Something is missing.
    """
    listing = place / "ImageSets" / "Segmentation" / f"{split}.txt"
    if not listing.is_file():
        raise InputError(f"{listing}: no such list")
    masks = place / "SegmentationClassAug"
    if not masks.is_dir():
        masks = place / "SegmentationClass"
    pairs = []
    for number, line in enumerate(listing.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if len(words) > 2:
            raise InputError(f"{listing}, line {number}: expected a name, or an image and its mask")
        if len(words) == 2:
            pairs.append((place / words[0].lstrip("/"), place / words[1].lstrip("/")))
        elif words:
            pairs.append((place / "JPEGImages" / f"{words[0]}.jpg", masks / f"{words[0]}.png"))
    return sorted(pairs)


def _by_stem(place: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _files(place):
        if path.stem in found:
            raise InputError(f"{place}: holds {found[path.stem].name} and {path.name}, of one name but for the suffix")
        found[path.stem] = path
    return found


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        raise InputError(f"{place}: no such folder")
    return sorted(path for path in visible_entries(place) if path.suffix.lower() in SUFFIXES)


def _count(mask: Tensor) -> Tensor:
    return torch.bincount(mask.flatten().int(), minlength=_VALUES)


def _check_values(found: MaskedImages, names: Sequence[str]) -> None:
    wrong = found.areas[:, len(found.classes) + 1 : IGNORE].nonzero()
    if len(wrong):
        place, offset = wrong[0].tolist()
        value = len(found.classes) + 1 + offset
        raise ValueError(f"{names[place]}: holds the value {value}; there are {len(found.classes)} classes")


def _told(values: Mapping[int, int]) -> str:
    ordered = sorted(values)
    return ", ".join(map(str, ordered)) if len(ordered) <= 12 else f"{ordered[0]} to {ordered[-1]}"


def _size(tensor: Tensor) -> str:
    height, width = tensor.shape[-2:]
    return f"{width}x{height}"


def _sides(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
