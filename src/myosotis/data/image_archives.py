"""Published image sets: the idx files of MNIST and its relatives, and the sets that torchvision reads."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from myosotis.data.images import ImageSet
from myosotis.engine.errors import InputError
from myosotis.engine.unpacking import check_unpacked

TORCHVISION = ("FashionMNIST", "KMNIST", "MNIST", "STL10", "SVHN")
"""Data sets that torchvision reads without unpickling anything. Its CIFAR files are pickles: see :func:`read_cifar`."""

_SPLIT_NAMES = {"train": "train", "test": "t10k"}


def read_idx(folder: Path, split: str, classes: Sequence[str] | None = None) -> ImageSet:
    """Read the idx files of MNIST and its relatives, compressed or not.

    Args:
        folder: Folder with ``train-images-idx3-ubyte[.gz]`` and the other three.
        split: ``"train"`` or ``"test"``.
        classes: Names of the classes; their numbers unless given.

    Returns:
        Images of one channel; the first is named ``train-00000`` or ``test-00000``.

    Raises:
        InputError: A file is missing or damaged.
    """
    prefix = _SPLIT_NAMES[split]
    images = _read_array(folder, f"{prefix}-images-idx3-ubyte", 3)
    labels = _read_array(folder, f"{prefix}-labels-idx1-ubyte", 1)
    if len(images) != len(labels):
        raise InputError(f"{folder}: {len(images)} images but {len(labels)} labels in the {split} files")
    if not len(images):
        raise InputError(f"{folder}: the {split} files hold no image")
    count = int(labels.max()) + 1
    names = tuple(classes) if classes is not None else tuple(str(number) for number in range(count))
    if len(names) < count:
        raise InputError(f"{folder}: {count} classes, but {len(names)} names for them")
    return ImageSet(
        torch.from_numpy(images).unsqueeze(1),
        torch.from_numpy(labels).long(),
        tuple(f"{split}-{row:05d}" for row in range(len(labels))),
        names,
    )


def read_torchvision(dataset: str, folder: Path, split: str, *, download: bool = False) -> ImageSet:
    """Read one of :data:`TORCHVISION`.

    Args:
        dataset: Name of the data set.
        folder: Folder of its files.
        split: ``"train"`` or ``"test"``.
        download: Whether missing files are downloaded.

    Raises:
        InputError: The data set is unknown or its files are missing.
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
        dataset_object = kind(
            folder, **({"split": split} if by_split else {"train": split == "train"}), download=download
        )
    except RuntimeError as error:
        raise InputError(f"{folder}: {str(error).splitlines()[0]}; 'download: true' downloads the data") from None
    images = torch.as_tensor(dataset_object.data)
    if images.ndim == 3:
        images = images.unsqueeze(1)
    labels = torch.as_tensor(dataset_object.labels if by_split else dataset_object.targets).long()
    classes = getattr(dataset_object, "classes", None) or [str(number) for number in range(int(labels.max()) + 1)]
    return ImageSet(images, labels, tuple(f"{split}-{row:05d}" for row in range(len(labels))), tuple(classes))


def _read_array(folder: Path, name: str, dimensions: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            break
    else:
        raise InputError(f"{folder / name}[.gz]: no such file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            zero, kind, rank = struct.unpack(">HBB", stream.read(4))
            shape = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
            if (zero, kind, rank) != (0, 8, dimensions):
                raise InputError(f"{path}: is not an idx file of bytes with {dimensions} dimensions")
            length = math.prod(shape)
            check_unpacked(path, length)
            # One more than the header says, but never all that a file may unpack to.
            content = stream.read(length + 1)
        return np.frombuffer(content, np.uint8).reshape(shape).copy()
    except (OSError, EOFError, struct.error, zlib.error, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is damaged") from None
