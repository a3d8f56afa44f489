"""Inputs of a caller, in memory or by path, as files under the names by which drafts recognise them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from myosotis.data.images import ImageSet
from myosotis.data.records import Record
from myosotis.engine.artifact import read_description
from myosotis.engine.errors import InputError
from myosotis.engine.files import make_private, write_tensors, write_text
from myosotis.models.image_classifier import CLASSIFIER, ClassifierSpec
from myosotis.models.normalization import NormalizedClassifier

_FORGETTING: Mapping[str, str] = {
    "subjects.json": "unlearn-adapters",
    "exact.json": "unlearn-exact",
    "stream.json": "unlearn-learner",
    "classifier.json": "unlearn-classifier",
    "config.json": "unlearn-language",
    "adapter_config.json": "unlearn-language",
}
"""By the file that a model's directory, or its run, holds, in this order: the job that makes it forget."""

_IMAGE, _LABEL = ("image", "img"), ("label", "labels", "fine_label")
"""Names of the columns of a row, as data sets of the datasets library call them."""


@contextmanager
def input_folder(inputs: str | Path | None) -> Iterator[Path]:
    """The folder for inputs in memory; only its owner may enter it.

    Args:
        inputs: New folder, which stays, also after an error; None for a temporary one.

    Raises:
        InputError: It already exists.
    """
    if inputs is None:
        with TemporaryDirectory(prefix="myosotis-") as made:
            yield Path(made)
        return
    folder = Path(inputs)
    if folder.exists():
        raise InputError(f"{folder}: already exists; inputs are written to a new folder")
    folder.mkdir(parents=True)
    make_private(folder)
    yield folder


def stage_model(model: object, folder: Path) -> tuple[Path, str, dict[str, object]]:
    """Return the path of a model, which is written there if it is in memory, its unlearning job, and known settings.

    Args:
        model: A path or name; a classifier; or a model of transformers and its tokenizer, as a pair.
        folder: Folder for what is in memory.

    Raises:
        InputError: It is none of these.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        for name, job in _FORGETTING.items():
            if any((at / name).is_file() for at in (path, path / "model")):
                return path, job, {}
        is_gguf = path.suffix == ".gguf"
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: holds no model: none of {', '.join(_FORGETTING)}")
        return path, "unlearn-classifier" if path.exists() and not is_gguf else "unlearn-language", {}
    if isinstance(model, tuple) and all(hasattr(part, "save_pretrained") for part in model):
        for part in model:
            part.save_pretrained(folder / "model")
        return folder / "model", "unlearn-language", {}
    if not isinstance(model, nn.Module) or hasattr(model, "save_pretrained"):
        raise InputError(
            f"model: {type(model).__name__} is neither a path nor a classifier, nor a model of transformers and its "
            "tokenizer as a pair"
        )
    path, settings = folder / "model.safetensors", {}
    if isinstance(model, NormalizedClassifier):
        normalise, model = model.normalize, model.classifier
        settings = {"mean": normalise.mean.flatten().tolist(), "std": normalise.std.flatten().tolist()}
    write_tensors(path, {name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
    return path, "unlearn-classifier", {"model": settings} if settings else {}


def class_names(model: Path) -> tuple[str, ...]:
    """Return the names of a classifier's classes, in the order of its outputs; empty where it says none."""
    at = next((at for at in (model, model / "model") if (at / CLASSIFIER).is_file()), None)
    return () if at is None else read_description(ClassifierSpec, at / CLASSIFIER, "a classifier").classes


def stage_records(given: object, folder: Path, role: str) -> Path:
    """Return a file of records in a folder: a link to the one that is named, or what is in memory, written there.

    Args:
        given: A path of a JSONL file, or rows: mappings, :class:`~myosotis.data.records.Record`, a data frame, a data
            set of the datasets library.
        folder: The folder.
        role: What the records are for, e.g. ``"forget"``: the name of the file.

    Raises:
        InputError: There is no such file, or it is none of these.
    """
    if isinstance(given, str | Path):
        return _link(Path(given), folder / f"{role}{Path(given).suffix}")
    rows = given.to_dict("records") if hasattr(given, "to_dict") and hasattr(given, "columns") else given
    if isinstance(rows, Mapping) or not isinstance(rows, Iterable):
        raise InputError(f"{role}: expected a path or rows of records, got {type(given).__name__}")
    path = folder / f"{role}.jsonl"
    write_text(path, "".join(_line(row, role) for row in rows), private=True)
    return path


def _line(row: object, role: str) -> str:
    fields = asdict(row) if isinstance(row, Record) else row
    if not isinstance(fields, Mapping):
        raise InputError(f"{role}: expected a mapping for each record, got {type(row).__name__}")
    # Neither an empty field nor a missing cell of a data frame, which is not a number.
    filled = {str(name): value for name, value in fields.items() if value not in (None, ()) and value == value}
    try:
        return json.dumps(filled, ensure_ascii=False) + "\n"
    except TypeError as error:
        raise InputError(f"{role}: {error}") from None


def stage_images(given: object, folder: Path, role: str, classes: tuple[str, ...] = ()) -> Path:
    """Return a folder of images: a link to the one that is named, or what is in memory, as PNG files by class.

    Args:
        given: A path of a folder with a folder for each class; :class:`~myosotis.data.images.ImageSet`; images and
            labels as a pair of arrays, tensors or lists; a data set or loader of such pairs; rows of the datasets
            library. Pixels are bytes, or numbers in [0, 1], which are rounded to bytes. Shapes: arrays (height, width)
            or (height, width, channels), tensors (height, width) or (channels, height, width).
        folder: The folder.
        role: What the images are for: the name of the folder in it.
        classes: Names of the numbered classes; those of the data set, or their numbers, unless given.

    Raises:
        InputError: There is no such folder, or it is none of these.
    """
    target = folder / role
    if isinstance(given, str | Path):
        return _link(Path(given), target)
    names = classes or _class_names(given)
    counts: dict[str, int] = {}
    for pixels, label in _pairs(given, role):
        name = _class_of(label, names, role)
        counts[name] = counts.get(name, 0) + 1
        class_folder = target / name
        class_folder.mkdir(parents=True, exist_ok=True)
        _picture(pixels, role).save(class_folder / f"{counts[name]:06}.png")
    if not counts:
        raise InputError(f"{role}: holds no image")
    return target


def _link(path: Path, target: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    target.symlink_to(path.resolve(), target_is_directory=path.is_dir())
    return target


def _class_names(given: object) -> tuple[str, ...]:
    classes = getattr(given, "classes", None)
    if classes is None and hasattr(given, "dataset"):
        classes = getattr(given.dataset, "classes", None)
    columns = getattr(given, "features", None)
    if classes is None and isinstance(columns, Mapping):
        classes = getattr(next((columns[name] for name in _LABEL if name in columns), None), "names", None)
    return tuple(map(str, classes or ()))


def _class_of(label: object, names: tuple[str, ...], role: str) -> str:
    if isinstance(label, str):
        name = label
    else:
        number = int(np.asarray(label))
        if number < 0 or (names and number >= len(names)):
            raise InputError(f"{role}: has the label {number}; there are {len(names)} classes")
        name = names[number] if names else str(number)
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise InputError(f"{role}: {name!r} cannot be the name of a class")
    return name


def _pairs(given: object, role: str) -> Iterator[tuple[object, object]]:
    """Images and labels, one by one."""
    if isinstance(given, ImageSet):
        yield from zip(given.images, given.labels.tolist(), strict=True)
        return
    if isinstance(given, tuple) and len(given) == 2:
        images, labels = given
        if len(images) != len(labels):
            raise InputError(f"{role}: {len(images)} images and {len(labels)} labels")
        yield from zip(images, labels, strict=True)
        return
    batched = isinstance(given, torch.utils.data.DataLoader)
    if isinstance(given, Sized) and hasattr(given, "__getitem__") and not isinstance(given, torch.Tensor | np.ndarray):
        # A data set of torch need not end by itself.
        items: Iterable[object] = (given[index] for index in range(len(given)))
    elif isinstance(given, Iterable) and not isinstance(given, torch.Tensor | np.ndarray):
        items = given
    else:
        raise InputError(f"{role}: expected a folder, or images with labels, got {type(given).__name__}")
    for item in items:
        pair = _of_row(item, role) if isinstance(item, Mapping) else item
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"{role}: expected pairs of an image and its label, got {type(item).__name__}")
        if batched:
            yield from zip(*pair, strict=True)
        else:
            yield pair[0], pair[1]


def _of_row(row: Mapping[str, object], role: str) -> tuple[object, object]:
    image, label = (next((name for name in names if name in row), None) for names in (_IMAGE, _LABEL))
    if image is None or label is None:
        raise InputError(
            f"{role}: expected rows with {' or '.join(_IMAGE)} and {' or '.join(_LABEL)}, got {', '.join(row)}"
        )
    return row[image], row[label]


def _picture(pixels: object, role: str) -> Image.Image:
    if isinstance(pixels, Image.Image):
        return pixels if pixels.mode in ("L", "RGB") else pixels.convert("RGB")
    if isinstance(pixels, torch.Tensor):
        plane = pixels.detach().cpu()
        array: NDArray[Any] = (plane.movedim(0, -1) if plane.ndim == 3 else plane).numpy()
    else:
        array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3):
        raise InputError(f"{role}: an image has the shape {array.shape}; expected one or three channels")
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        if not np.issubdtype(array.dtype, np.floating) or not (low >= 0 and high <= 1):
            raise InputError(
                f"{role}: pixels are {array.dtype} from {low:g} to {high:g}; expected bytes, or numbers in [0, 1] "
                "before they are normalised"
            )
        array = np.round(array * 255).astype(np.uint8)
    return Image.fromarray(array)
