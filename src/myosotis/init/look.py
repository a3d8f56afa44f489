"""What folders, models and files of a user are, found by looking at names and headers alone."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from myosotis.data.image_files import SUFFIXES, files_below, images_below, read_header, read_picture, visible_entries
from myosotis.engine.errors import InputError

_LOOKED_AT = 200
"""Images whose headers are read; a folder has as many as it likes."""
_SMALLEST, _LARGEST = 32, 64
_TRAIN, _TEST = ("train", "training"), ("test", "val", "valid", "validation")


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images.

    Attributes:
        path: Folder.
        classes: Number of images in the folder of each class, by name; empty where there are no classes.
        count: Number of images.
        sizes: Width and height of the images that were looked at, and how many have them.
        grey: Whether all of them are grey.
    """

    path: Path
    classes: dict[str, int]
    count: int
    sizes: Counter[tuple[int, int]]
    grey: bool

    @property
    def size(self) -> int | None:
        """Side that images are scaled to: none where all are small squares, else 32 to 64 pixels."""
        width, height = min(self.sizes)
        if len(self.sizes) == 1 and width == height <= _LARGEST:
            return None
        shorter = sorted(min(size) for size in self.sizes.elements())[self.sizes.total() // 2]
        return max(_SMALLEST, min(_LARGEST, shorter // 16 * 16))

    @property
    def side(self) -> int:
        """Side of the images that the network receives."""
        return self.size or next(iter(self.sizes))[0]


def look_at_images(path: Path) -> ImageFolder:
    """Return what a folder of images holds: classes are folders in it, if all of its images are in such folders.

    Raises:
        InputError: There is no such folder, it has no image, or one of the first is damaged.
    """
    if not path.is_dir():
        raise InputError(f"{path}: {'is a file; expected a folder of images' if path.exists() else 'no such folder'}")
    entries = visible_entries(path)
    folders = sorted(entry for entry in entries if entry.is_dir())
    loose = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in SUFFIXES]
    files = images_below(path)
    classes = {} if loose else {folder.name: len(files_below(folder)) for folder in folders}
    empty = next((name for name, count in classes.items() if not count), None)
    if empty is not None:
        raise InputError(f"{path / empty}: holds no image, so it is not a class; remove or fill it")
    # As many of each part of the folder, so that a class of other sizes is noticed.
    step = max(1, len(files) // _LOOKED_AT)
    headers = [read_header(file) for file in files[::step]]
    return ImageFolder(
        path, classes, len(files), Counter(header.size for header in headers), all(header.grey for header in headers)
    )


def find_splits(path: Path) -> tuple[Path, Path | None]:
    """Return the folders of the training and the test images: two in ``path`` of such names, else ``path`` alone.

    Raises:
        InputError: There is no such folder.
    """
    if not path.is_dir():
        raise InputError(f"{path}: {'is a file; expected a folder of images' if path.exists() else 'no such folder'}")
    by_name = {entry.name.lower(): entry for entry in visible_entries(path) if entry.is_dir()}
    train = next((by_name[name] for name in _TRAIN if name in by_name), None)
    test = next((by_name[name] for name in _TEST if name in by_name), None)
    if train is None or test is None:
        return path, None
    return train, test


def look_at_masks(images: Path, masks: Path) -> list[int]:
    """Return the numbers in the first mask files, in ascending order.

    Raises:
        InputError: A mask is missing, or is a colour image.
    """
    names = {file.stem for file in files_below(images)}
    files = [file for file in files_below(masks) if file.stem in names]
    if not files:
        raise InputError(f"{masks}: no file has the name of an image in {images}")
    numbers: set[int] = set()
    for file in files[:: max(1, len(files) // _LOOKED_AT)]:
        picture = read_picture(file)
        if picture.mode not in ("L", "P", "1", "I;16"):
            raise InputError(f"{file}: is a colour image ({picture.mode}); a mask holds one class number per pixel")
        numbers |= {int(number) for number in np.unique(np.asarray(picture))}
    return sorted(numbers)


def batch_size(images: int, side: int, channels: int, *, most: int = 64) -> int:
    """Return the images of a batch: some ten batches an epoch, no more than all, nor than half of the memory holds.

    Args:
        images: Number of training images.
        side: Side of an image in pixels.
        channels: Width of a network's widest layer at full resolution, for its activations.
        most: Largest batch.

    Example:
        >>> batch_size(12, 32, 64), batch_size(200, 32, 64), batch_size(100_000, 32, 64)
        (8, 16, 64)
    """
    # Some twenty layers of 32-bit numbers, and as many gradients.
    bytes_each = 2 * 20 * 4 * channels * side * side
    fits = memory_at_hand() / 2 / bytes_each
    return 1 << int(math.log2(max(1.0, min(most, max(16.0, images / 10), fits, images))))


def memory_at_hand() -> int:
    """Return the free bytes of the accelerator if there is one, else of this machine."""
    import psutil
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)


def by_role(paths: Sequence[Path], roles: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, Path]:
    """Return paths by their roles: by a word in the name where there is one, the others in the order of the roles.

    Args:
        paths: Paths as they were given.
        roles: Names of the roles, each with the words that tell it.

    Raises:
        InputError: Two paths have one role, or there are more paths than roles.

    Example:
        >>> roles = (("forget", ("forget", "delete")), ("retain", ("retain", "keep")))
        >>> sorted(by_role([Path("keep.jsonl"), Path("a.jsonl")], roles).items())
        [('forget', PosixPath('a.jsonl')), ('retain', PosixPath('keep.jsonl'))]
    """
    named: dict[str, Path] = {}
    others = []
    for path in paths:
        role = next((role for role, words in roles if any(word in path.name.lower() for word in words)), None)
        if role is None:
            others.append(path)
        elif role in named:
            raise InputError(f"{named[role]} and {path} both look like '{role}'; rename one of them")
        else:
            named[role] = path
    free = [role for role, _ in roles if role not in named]
    if len(others) > len(free):
        raise InputError(
            f"{others[len(free)]}: too many paths; expected at most {', '.join(role for role, _ in roles)}"
        )
    return named | dict(zip(free, others, strict=False))
