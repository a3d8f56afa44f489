"""The images of a job: those to forget, those that remain, and those to test with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet
from myosotis.data.instance_lists import read_instance_list, read_lines
from myosotis.data.sets import limited
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.methods import build_method

NEAR = 0.02
"""Two images whose root mean squared difference is below this, in units of [0, 1] pixels, are near-duplicates."""

_CHUNK = 4096


@dataclass(frozen=True)
class Inputs:
    """The images of a job.

    Attributes:
        classes: Names of the classes, in the order of the logits.
        forget: Images to forget.
        requests: Number of images of each request, in their order.
        remaining: The rest of the training set without copies of an image to forget, or None.
        test: Images that the model never saw, or None.
        same: Number of further training images that equal an image to forget, byte for byte, whatever their class. They
            do not remain: a method would train on what it is to forget.
        near: Number of remaining images that are nearer than :data:`NEAR`.
    """

    classes: tuple[str, ...]
    forget: ImageSet
    requests: tuple[int, ...]
    remaining: ImageSet | None
    test: ImageSet | None
    same: int
    near: int


def read_inputs(config: ClassifierUnlearningConfig, classes: tuple[str, ...], *, others: bool = True) -> Inputs:
    """Read and split the images of a job.

    Args:
        config: Configuration with absolute paths.
        classes: Classes of the model, where it knows them; else they are taken from the training or the test set.
        others: Whether a training or test image of another class is an error; else it is left out, and ``data.limit``
            draws before that, as a stream does.

    Raises:
        InputError: Something is missing, is named twice, or does not fit together.
    """
    data = config.data
    train = None if data.train is None else read_images(data.train)
    test = None if data.test is None else read_images(data.test)
    if train is not None and not others:
        # The images that a stream with this limit and seed draws.
        train = _of_classes(limited(train, data.limit, config.seed, "data.limit"), classes)
    elif train is not None and data.limit is not None:
        if data.limit > len(train):
            raise InputError(f"data.limit is {data.limit}, but the training set has {len(train)} images")
        train = train.subset(sorted(train.shuffled(config.seed, "limit")[: data.limit]))
    if test is not None and not others:
        test = _of_classes(test, classes)
    classes = classes or next((images.classes for images in (train, test) if images is not None), ())
    forget, remaining, sizes = _split(config, train)
    if not classes:
        raise InputError(
            "the names of the classes are not known: name them in model.classes, in the order of the model's outputs, "
            "or give a training or a test set"
        )
    forget = _in_terms_of(forget, classes, "forget set")
    remaining = None if remaining is None else _in_terms_of(remaining, classes, "training set")
    test = None if test is None else _in_terms_of(test, classes, "test set")
    _check_shapes(forget, {"training": remaining, "test": test})
    same = near = 0
    if remaining is not None and len(remaining):
        copies, near = _duplicates(forget, remaining)
        same = len(copies)
        if data.forget.folder is not None:
            # With their class they are the photos of the folder themselves.
            digests = {forget.digest(index) for index in range(len(forget))}
            same -= sum(remaining.digest(index) in digests for index in copies)
        remaining = remaining.subset(sorted(set(range(len(remaining))).difference(copies)))
    if remaining is not None and not len(remaining) and _reads_remaining(config):
        raise InputError("every training image is to be forgotten: nothing remains to learn from")
    return Inputs(classes, forget, sizes, remaining, test, same, near)


def _of_classes(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """The images of some classes, with labels that are indices into them."""
    if images.classes == classes:
        return images
    known = torch.tensor([name in classes for name in images.classes])
    chosen = images.subset(known[images.labels].nonzero().flatten().tolist())
    order = torch.tensor([classes.index(name) if name in classes else -1 for name in images.classes])
    return replace(chosen, labels=order[chosen.labels], classes=classes)


def _split(
    config: ClassifierUnlearningConfig, train: ImageSet | None
) -> tuple[ImageSet, ImageSet | None, tuple[int, ...]]:
    """The images to forget, the rest of the training set, and the number of images of each request."""
    data = config.data
    sizes: tuple[int, ...] = ()
    if data.forget.folder is not None:
        given = next((source.size for source in (data.train, data.test) if source is not None), None)
        size = data.forget.size or given
        forget, remaining = read_image_folder(Path(data.forget.folder), size), train
    else:
        assert train is not None  # noqa: S101 - the configuration has been checked
        if data.forget.list is not None:
            indices, sizes = _listed(data.forget.list, train)
        else:
            count = int(data.forget.count or 0)
            if count >= len(train):
                raise InputError(f"data.forget.count is {count}, but the training set has {len(train)} images")
            indices = train.shuffled(config.seed, "forget")[:count]
        excluded = set(indices)
        forget = train.subset(indices)
        remaining = train.subset([index for index in range(len(train)) if index not in excluded])
    if len(sizes) < 2:
        parts = config.requests or 1
        if parts > len(forget):
            raise InputError(f"requests is {parts}, but only {len(forget)} images are to be forgotten")
        sizes = tuple(len(part) for part in torch.arange(len(forget)).tensor_split(parts))
    return forget, remaining, sizes


def _listed(paths: str | Sequence[str], train: ImageSet) -> tuple[list[int], tuple[int, ...]]:
    """The indices of the training images that lists name, and the length of each list."""
    lists = [read_instance_list(Path(path), train) for path in ([paths] if isinstance(paths, str) else paths)]
    indices = [index for indices in lists for index in indices]
    twice = next((index for index in indices if indices.count(index) > 1), None)
    if twice is not None:
        raise InputError(f"data.forget.list: two lists name {train.names[twice]}")
    return indices, tuple(len(indices) for indices in lists)


def _check_shapes(forget: ImageSet, sets: Mapping[str, ImageSet | None]) -> None:
    for name, images in sets.items():
        if images is not None and images.images.shape[1:] != forget.images.shape[1:]:
            raise InputError(
                f"the images to forget are {_shape(forget)}, those of the {name} set are {_shape(images)}; give a size"
            )


def _reads_remaining(config: ClassifierUnlearningConfig) -> bool:
    """Whether anything in the job is trained on the remaining images."""
    methods = (config.method, *(variant.method for variant in config.compare))
    return config.train is not None or any(
        build_method(method.name, method.settings).reads_retain for method in methods
    )


def read_new_labels(path: Path, forget: ImageSet) -> Int[Tensor, " n"]:
    """Read the new label of every instance: lines of a name, a tab and a class.

    Raises:
        InputError: The file or a line of it is wrong, a class is the true one, or an instance has no line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of new labels")
    indices = {name: index for index, name in enumerate(forget.names)}
    labels: dict[int, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, class_name = line.partition("\t")
        if not tab:
            raise InputError(f"{path}, line {number}: expected a name, a tab and a class")
        if name not in indices:
            raise InputError(f"{path}, line {number}: {name} is not among the instances to forget")
        if class_name.strip() not in forget.classes:
            raise InputError(f"{path}, line {number}: no such class: {class_name.strip()}")
        label = forget.classes.index(class_name.strip())
        if label == int(forget.labels[indices[name]]):
            raise InputError(
                f"{path}, line {number}: {class_name.strip()} is the true class of {name}; relabel to another"
            )
        if indices[name] in labels:
            raise InputError(f"{path}, line {number}: {name} is listed twice")
        labels[indices[name]] = label
    missing = [name for name, index in indices.items() if index not in labels]
    if missing:
        raise InputError(
            f"{path}: no new label for {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
        )
    return torch.tensor([labels[index] for index in range(len(forget))])


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


def _in_terms_of(images: ImageSet, classes: Sequence[str], name: str) -> ImageSet:
    """Return the images with labels that are indices into ``classes``."""
    if images.classes == tuple(classes):
        return images
    unknown = [label for label in images.classes if label not in classes]
    if unknown:
        raise InputError(f"{name}: the model has no class '{unknown[0]}'; it has {', '.join(classes)}")
    order = torch.tensor([classes.index(label) for label in images.classes])
    return replace(images, labels=order[images.labels], classes=tuple(classes), skipped=())


def _duplicates(forget: ImageSet, remaining: ImageSet) -> tuple[list[int], int]:
    """The indices of remaining images that equal one to be forgotten, and the number of those that nearly do."""
    forget_rows = _rows(forget.images)
    same, near = list[int](), 0
    limit = NEAR**2 * forget_rows.shape[1]
    for begin in range(0, len(remaining), _CHUNK):
        rows = _rows(remaining.images[begin : begin + _CHUNK])
        nearest = torch.cdist(rows, forget_rows).square().amin(dim=1)
        # cdist rounds; candidates are compared byte by byte.
        for index in (nearest < limit).nonzero().flatten().tolist():
            image = remaining.images[begin + index]
            if bool((forget.images == image).flatten(1).all(dim=1).any()):
                same.append(begin + index)
            else:
                near += 1
    return same, near


def _rows(images: Tensor) -> Float[Tensor, "n pixels"]:
    return images.flatten(1).float() / 255
