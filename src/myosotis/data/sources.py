"""Sources of labelled images in a configuration."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from pydantic import Field, model_validator

from myosotis.data.array_files import read_npz
from myosotis.data.holding_out import HeldOut
from myosotis.data.image_archives import read_idx, read_torchvision
from myosotis.data.image_files import WHITE, Background, as_array, check_size, files_below
from myosotis.data.image_folders import OnError, read_image_folder, read_unlabelled_folder
from myosotis.data.images import ImageSet
from myosotis.engine.config import Config, LocalPath
from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.method import Fraction

Byte = Annotated[int, Field(ge=0, le=255)]
BackgroundColour = Byte | tuple[Byte, Byte, Byte]
"""A background in a configuration: a grey value, or red, green and blue."""

_KINDS = ("folder", "images", "idx", "torchvision", "cifar", "arrays", "datasets", "packaged")
_WITHOUT_SPLIT = ("folder", "images", "arrays")
_DIGITS_HELD_OUT = 0.2
_CIFAR_PIXELS = 3 * 32 * 32
_MAX_CLASSES = 2**16
_CIFAR = {
    "cifar-10": ({"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}, 1),
    "cifar-100": ({"train": ["train.bin"], "test": ["test.bin"]}, 2),
}
_CIFAR_NAMES = {"cifar-10": "batches.meta.txt", "cifar-100": "fine_label_names.txt"}


class SourceConfig(Config):
    """A set of images, labelled but for ``images``.

    Exactly one of its kinds is given. Image files are turned upright by their orientation tags.

    Attributes:
        folder: Folder with a folder of image files for each class.
        images: Folder of image files without classes.
        idx: Folder with the idx files of MNIST or a relative.
        torchvision: Name of a data set of torchvision.
        cifar: Folder of the unpacked binary version of CIFAR-10 or CIFAR-100.
        arrays: ``.npz`` file with ``images`` and ``labels``.
        datasets: Folder that the datasets library saved, or one of parquet files.
        packaged: ``digits``: 1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn.
        root: Folder of the files of the ``torchvision`` data set.
        split: Split of a source that has several, or that ``held_out`` splits.
        held_out: Share of each class that is the ``test`` split of a source without one, drawn by names.
        size: Side in pixels that images are scaled and cropped to.
        classes: Names of the numbered classes of ``idx`` or ``arrays``.
        image_column: Column of the images in ``datasets``; found by its type unless given.
        label_column: Column of the labels in ``datasets``; found by its type unless given.
        download: Whether torchvision may fetch the files.
        on_error: What a damaged file does: ``stop`` the job, or ``skip`` the file and count it.
        cache: Folder for decoded images, which makes later starts faster.
        background: Colour behind transparent pixels: a grey value, or red, green and blue.
    """

    folder: LocalPath | None = None
    images: LocalPath | None = None
    idx: LocalPath | None = None
    torchvision: str | None = None
    cifar: LocalPath | None = None
    arrays: LocalPath | None = None
    datasets: LocalPath | None = None
    packaged: Literal["digits"] | None = None
    root: LocalPath | None = None
    split: Literal["train", "test"] | None = None
    held_out: Fraction | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    classes: tuple[str, ...] | None = None
    image_column: str | None = None
    label_column: str | None = None
    download: bool = False
    on_error: OnError = "stop"
    cache: LocalPath | None = None
    background: BackgroundColour = WHITE

    @model_validator(mode="before")
    @classmethod
    def _training_split(cls, values: Any) -> Any:
        """The split of a source that has several is ``train`` unless given."""
        if not isinstance(values, dict) or values.get("split") is not None:
            return values
        has_splits = values.get("held_out") is not None or not any(values.get(kind) for kind in _WITHOUT_SPLIT)
        return {**values, "split": "train"} if has_splits else values

    @model_validator(mode="after")
    def _one_kind(self) -> "SourceConfig":
        kinds = [name for name in _KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of {', '.join(repr(name) for name in _KINDS)}")
        kind = kinds[0]
        if (self.torchvision is None) != (self.root is None):
            raise ValueError("'root' is the directory of a 'torchvision' data set; give both or neither")
        if self.held_out is not None and kind not in (*_WITHOUT_SPLIT, "packaged"):
            raise ValueError(f"'held_out' splits a source without splits; '{kind}' has a 'split: test' of its own")
        if self.split == "test" and kind in _WITHOUT_SPLIT and self.held_out is None:
            raise ValueError(
                f"a '{kind}' has no 'split'; name the folder or file of the test images, or give 'held_out', the share "
                "of each class to draw as test images"
            )
        if self.size is not None and kind not in ("folder", "images", "datasets"):
            raise ValueError("'size' scales images of a 'folder', of 'images' or of 'datasets' only")
        if self.classes is not None and kind not in ("idx", "arrays"):
            raise ValueError("'classes' names the numbers of 'idx' files and of 'arrays' only")
        if self.download and kind != "torchvision":
            raise ValueError("'download' belongs to 'torchvision'")
        if (self.on_error == "skip" or self.cache is not None) and kind not in ("folder", "images"):
            raise ValueError("'on_error' and 'cache' belong to 'folder' and 'images'")
        if self.background != WHITE and kind not in ("folder", "images", "datasets"):
            raise ValueError("'background' belongs to a 'folder', to 'images' and to 'datasets'")
        if (self.image_column or self.label_column) and kind != "datasets":
            raise ValueError("'image_column' and 'label_column' belong to 'datasets'")
        return self


def read_images(source: SourceConfig) -> ImageSet:
    """Read a source.

    Raises:
        InputError: The source is missing or damaged.
    """
    cache = None if source.cache is None else Path(source.cache)
    split: Literal["train", "test"] = source.split or "train"
    part = None if source.held_out is None else HeldOut(source.held_out, split)
    if source.images is not None or source.folder is not None:
        read = read_unlabelled_folder if source.folder is None else read_image_folder
        return read(
            Path(source.images or source.folder or ""),
            source.size,
            on_error=source.on_error,
            cache=cache,
            background=source.background,
            part=part,
        )
    if source.packaged is not None:
        return _part_of(read_digits(), part or HeldOut(_DIGITS_HELD_OUT, split), "digits")
    if source.idx is not None:
        return read_idx(Path(source.idx), split, source.classes)
    if source.cifar is not None:
        return read_cifar(Path(source.cifar), split)
    if source.arrays is not None:
        arrays = read_arrays(Path(source.arrays), source.classes)
        return arrays if part is None else _part_of(arrays, part, source.arrays)
    if source.datasets is not None:
        return read_datasets(
            Path(source.datasets),
            split,
            source.image_column,
            source.label_column,
            source.size,
            source.background,
        )
    return read_torchvision(str(source.torchvision), Path(str(source.root)), split, download=source.download)


def _part_of(images: ImageSet, part: HeldOut, what: str) -> ImageSet:
    return images.subset(part.indices(images.names, images.labels.tolist(), what))


def read_digits() -> ImageSet:
    """Return the handwritten digits of scikit-learn (Alpaydin and Kaynak, UCI, 1998): 1,797 images of 8 x 8 pixels.

    Example:
        >>> digits = read_digits()
        >>> tuple(digits.images.shape), digits.classes[:3]
        ((1797, 1, 8, 8), ('0', '1', '2'))
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Counts from 0 to 16 become grey values.
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    return _checked(images[:, None], digits.target, "digits", tuple(map(str, range(10))), "digits")


def read_cifar(folder: Path, split: str) -> ImageSet:
    """Read the binary version of CIFAR-10 or CIFAR-100, the only one that is not a pickle.

    Args:
        folder: Unpacked directory, ``cifar-10-batches-bin`` or ``cifar-100-binary``.
        split: ``"train"`` or ``"test"``.

    Raises:
        InputError: A file is missing or damaged.
    """
    kind = next((kind for kind, name in _CIFAR_NAMES.items() if (folder / name).is_file()), None)
    if kind is None:
        raise InputError(f"{folder}: holds neither {' nor '.join(_CIFAR_NAMES.values())}, so it is not a binary CIFAR")
    files, head = _CIFAR[kind]
    parts = []
    for name in files[split]:
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        content = np.frombuffer(path.read_bytes(), np.uint8)
        if not len(content) or len(content) % (head + _CIFAR_PIXELS):
            raise InputError(f"{path}: is damaged")
        parts.append(content.reshape(-1, head + _CIFAR_PIXELS))
    rows = np.concatenate(parts)
    text = (folder / _CIFAR_NAMES[kind]).read_text(encoding="utf-8")
    classes = tuple(line.strip() for line in text.splitlines() if line.strip())
    # CIFAR-100 has the fine label in the second byte.
    labels = rows[:, head - 1]
    return _checked(rows[:, head:].reshape(-1, 3, 32, 32), labels, split, classes, str(folder))


def read_arrays(path: Path, classes: tuple[str, ...] | None = None) -> ImageSet:
    """Read ``images``, ``labels`` and optional ``names`` from an ``.npz`` file.

    Random choices depend on names; without them images are named by their rows.

    Args:
        path: File with ``images`` as bytes, (n, height, width) or (n, height, width, channels), ``labels`` as integers
            and ``names`` as unique words.
        classes: Names of the classes; their numbers unless given.

    Raises:
        InputError: The file is missing, or has another content.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of arrays")
    arrays = read_npz(path)
    missing = next((name for name in ("images", "labels") if name not in arrays), None)
    if missing is not None:
        raise InputError(f"{path}: holds no '{missing}'")
    images, labels = arrays["images"], arrays["labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise InputError(f"{path}: images must be bytes of 3 or 4 dimensions, got {images.dtype} of {images.ndim}")
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images):
        raise InputError(f"{path}: labels must be {len(images)} integers, got {labels.dtype} {labels.shape}")
    planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if planes.shape[1] not in (1, 3):
        raise InputError(f"{path}: images must have 1 or 3 channels, in the last dimension; got {images.shape}")
    if not len(images):
        raise InputError(f"{path}: holds no image")
    if classes is None:
        if int(labels.max()) >= _MAX_CLASSES:
            raise InputError(
                f"{path}: has the label {int(labels.max())}; labels number classes from 0, at most {_MAX_CLASSES:,}"
            )
        classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    return _checked(planes, labels, path.stem, classes, str(path), _names(arrays, len(images), path))


def _names(arrays: dict[str, Any], count: int, path: Path) -> tuple[str, ...] | None:
    if "names" not in arrays:
        return None
    names = arrays["names"]
    if names.shape != (count,) or names.dtype.kind != "U":
        raise InputError(f"{path}: names must be {count} words, got {names.dtype} {names.shape}")
    if len(np.unique(names)) < count:
        raise InputError(f"{path}: names must be unique")
    return tuple(names.tolist())


def read_datasets(
    folder: Path,
    split: str,
    image_column: str | None = None,
    label_column: str | None = None,
    size: int | None = None,
    background: Background = WHITE,
) -> ImageSet:
    """Read an image set of the ``datasets`` library from disk; nothing is fetched.

    Args:
        folder: Directory written by ``save_to_disk``, or one that holds parquet files, ``train*.parquet`` and
            ``test*.parquet``, in it or in one directory below it.
        split: ``"train"`` or ``"test"``.
        image_column: Column of images; the first one unless given.
        label_column: Column of class labels, integers or words; the first column of class labels unless given.
        size: Side in pixels, as for :func:`~myosotis.data.image_folders.read_image_folder`.
        background: Colour behind transparent pixels, as for :func:`~myosotis.data.image_folders.read_image_folder`.

    Raises:
        InputError: There is no such data set, split or column, a label is missing, or images differ in size.
    """
    require("language", "a data set of the datasets library")
    import datasets  # takes a second to load, and few jobs need it

    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory of a data set")
    try:
        table = _open_table(datasets, folder, split)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}: cannot be read: {str(error).splitlines()[0]}") from None
    features = table.features
    image_column = _column(features, image_column, datasets.Image, folder)
    label_column = _column(features, label_column, datasets.ClassLabel, folder)
    raw = list(table[label_column])
    unlabelled = next((row for row, value in enumerate(raw) if value is None), None)
    if unlabelled is not None:
        raise InputError(f"{folder}, row {unlabelled}: has no label in the column '{label_column}'")
    if isinstance(features[label_column], datasets.ClassLabel):
        classes, labels = tuple(features[label_column].names), np.asarray(raw)
    else:
        classes = tuple(str(value) for value in sorted(set(raw)))
        numbers = {name: number for number, name in enumerate(classes)}
        labels = np.asarray([numbers[str(value)] for value in raw])
    if not isinstance(features[image_column], datasets.Image):
        table = table.cast_column(image_column, datasets.Image())
    arrays = _pictures(table, image_column, size, folder, background)
    if any(array.shape[:2] != arrays[0].shape[:2] for array in arrays):
        raise InputError(f"{folder}: images differ in size; give a size")
    grey = all(array.ndim == 2 for array in arrays)
    colour = [np.repeat(array[..., None], 3, 2) if array.ndim == 2 else array for array in arrays]
    planes = np.stack(arrays)[:, None] if grey else np.stack(colour).transpose(0, 3, 1, 2)
    return _checked(planes, labels, split, classes, str(folder))


def _pictures(table: Any, column: str, size: int | None, folder: Path, background: Background) -> list[Any]:
    """Decode row by row, so that an error can name the damaged row."""
    arrays: list[Any] = []
    for row in range(len(table)):
        name = f"{folder}, row {row}"
        try:
            picture = table[row][column]
            if picture is None:
                raise InputError(f"{name}: has no image")
            check_size(picture.size, name)
            arrays.append(as_array(ImageOps.exif_transpose(picture), size, name, background))
        except InputError:
            raise
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise InputError(f"{name}: is not a readable image") from None
    return arrays


def _open_table(datasets: Any, folder: Path, split: str) -> Any:
    files = [path for path in files_below(folder, (".parquet",)) if path.name.startswith(split)]
    if files:
        others = sorted({path.parent for path in files})[1:]
        if others:
            raise InputError(
                f"{folder}: has {split}*.parquet in {files[0].parent} and in {others[0]}, which may be different "
                "versions of the data; name one of them"
            )
        return datasets.load_dataset("parquet", data_files=[str(path) for path in files], split="train")
    loaded = datasets.load_from_disk(str(folder))
    if isinstance(loaded, datasets.DatasetDict):
        if split not in loaded:
            raise InputError(f"{folder}: has no split '{split}'; it has {', '.join(loaded)}")
        return loaded[split]
    if split != "train":
        raise InputError(f"{folder}: is a data set without splits, so there is no '{split}'")
    return loaded


def _column(features: Any, name: str | None, kind: Any, folder: Path) -> str:
    if name is not None:
        if name not in features:
            raise InputError(f"{folder}: has no column '{name}'; it has {', '.join(features)}")
        return name
    column = next((key for key, feature in features.items() if isinstance(feature, kind)), None)
    if column is None:
        key = "image_column" if kind.__name__ == "Image" else "label_column"
        raise InputError(f"{folder}: no column has the type {kind.__name__}; give '{key}'")
    return str(column)


def _checked(
    images: Any,
    labels: Any,
    prefix: str,
    classes: tuple[str, ...],
    source: str,
    names: tuple[str, ...] | None = None,
) -> ImageSet:
    outside = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(outside):
        row = int(outside[0])
        raise InputError(
            f"{source}: image {row} has the label {int(labels[row])}, but there are {len(classes)} classes"
        )
    numbers = torch.from_numpy(np.ascontiguousarray(labels).astype(np.int64))
    return ImageSet(
        torch.from_numpy(np.ascontiguousarray(images)),
        numbers,
        tuple(f"{prefix}-{row:05d}" for row in range(len(numbers))) if names is None else names,
        classes,
    )
