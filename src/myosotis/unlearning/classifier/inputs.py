"""What a job reads: images to forget, to keep and to test with, and the model with its class names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from myosotis.data.images import ImageSet, pixel_statistics, read_image_folder, read_instance_list, read_lines
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, check_finite, load_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.unlearning.classifier.config import ClassifierUnlearningConfig, ModelConfig
from myosotis.unlearning.classifier.methods import build_method

NEAR = 0.02
"""Two images whose root mean squared difference is below this, in units of [0, 1] pixels, are near-duplicates."""

_CHUNK = 4096


@dataclass(frozen=True)
class Inputs:
    """The images of a job.

    Attributes:
        classes: Names, in the order of the logits.
        forget: What is to be forgotten.
        requests: How many of them each request brings, in their order.
        remaining: The rest of the training set, or None.
        test: What the model never saw, or None.
        same: How many remaining images equal one that is to be forgotten, byte for byte.
        near: How many more are nearer than :data:`NEAR`.
    """

    classes: tuple[str, ...]
    forget: ImageSet
    requests: tuple[int, ...]
    remaining: ImageSet | None
    test: ImageSet | None
    same: int
    near: int


def read_inputs(config: ClassifierUnlearningConfig, classes: tuple[str, ...]) -> Inputs:
    """Read and split the images of a job.

    Args:
        config: With absolute paths.
        classes: Those of the model, where it knows them; else they are taken from the training or the test set.

    Raises:
        InputError: Something is missing, is named twice, or does not fit together.
    """
    data, seed = config.data, config.seed
    sizes: tuple[int, ...] = ()
    train = None if data.train is None else read_images(data.train)
    test = None if data.test is None else read_images(data.test)
    if train is not None and data.limit is not None:
        if data.limit > len(train):
            raise InputError(f"data.limit is {data.limit}, but the training set has {len(train)} images")
        train = train.subset(sorted(train.shuffled(seed, "limit")[: data.limit]))
    known = next((found.classes for found in (train, test) if found is not None), ())
    classes = classes or known
    if data.forget.folder is not None:
        size = next((source.size for source in (data.train, data.test) if source is not None), None)
        forget = read_image_folder(Path(data.forget.folder), size)
        remaining = train
    else:
        assert train is not None  # noqa: S101 - the configuration has been checked
        if data.forget.list is not None:
            lists = [data.forget.list] if isinstance(data.forget.list, str) else data.forget.list
            listed = [read_instance_list(Path(path), train) for path in lists]
            places = [place for one in listed for place in one]
            twice = next((place for place in places if places.count(place) > 1), None)
            if twice is not None:
                raise InputError(f"data.forget.list: {train.names[twice]} stands in two lists")
            sizes = tuple(len(one) for one in listed)
        else:
            count = int(data.forget.count or 0)
            if count >= len(train):
                raise InputError(f"data.forget.count is {count}, but the training set has {len(train)} images")
            places = train.shuffled(seed, "forget")[:count]
        chosen = set(places)
        forget = train.subset(places)
        remaining = train.subset([place for place in range(len(train)) if place not in chosen])
    if len(sizes) < 2:
        parts = config.requests or 1
        if parts > len(forget):
            raise InputError(f"requests is {parts}, but there are {len(forget)} to forget")
        sizes = tuple(len(part) for part in torch.arange(len(forget)).tensor_split(parts))
    if not classes:
        raise InputError(
            "the names of the classes are not known: name them in model.classes, in the order of the model's outputs, "
            "or give a training or a test set"
        )
    forget = _in_terms_of(forget, classes, "forget set")
    remaining = None if remaining is None else _in_terms_of(remaining, classes, "training set")
    test = None if test is None else _in_terms_of(test, classes, "test set")
    for name, found in (("training", remaining), ("test", test)):
        if found is not None and found.images.shape[1:] != forget.images.shape[1:]:
            raise InputError(
                f"the images to forget are {_shape(forget)}, those of the {name} set are {_shape(found)}; give a size"
            )
    needed = config.train is not None or any(
        build_method(method.name, method.settings).reads_retain
        for method in (config.method, *(variant.method for variant in config.compare))
    )
    if remaining is not None and not len(remaining) and needed:
        raise InputError("every training image is to be forgotten: nothing remains to learn from")
    same = near = 0
    if remaining is not None and len(remaining):
        same, near = _duplicates(forget, remaining)
        if data.forget.folder is not None and same:
            # The same photos, kept in a folder of their own: they are not what remains.
            gone = {forget.digest(place) for place in range(len(forget))}
            rest = [place for place in range(len(remaining)) if remaining.digest(place) not in gone]
            remaining, same = remaining.subset(rest), same - (len(remaining) - len(rest))
    return Inputs(classes, forget, sizes, remaining, test, same, near)


def read_new_labels(path: Path, forget: ImageSet) -> Int[Tensor, " n"]:
    """Read the new label of every instance: lines of a name, a tab and a class.

    Raises:
        InputError: The file or a line of it is wrong, a class is the true one, or an instance has no line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of new labels")
    places = {name: place for place, name in enumerate(forget.names)}
    found: dict[int, int] = {}
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, wanted = line.partition("\t")
        if not tab:
            raise InputError(f"{path}, line {number}: expected a name, a tab and a class")
        if name not in places:
            raise InputError(f"{path}, line {number}: {name} is not among the instances to forget")
        if wanted.strip() not in forget.classes:
            raise InputError(f"{path}, line {number}: no such class: {wanted.strip()}")
        label = forget.classes.index(wanted.strip())
        if label == int(forget.labels[places[name]]):
            raise InputError(f"{path}, line {number}: {wanted.strip()} is the true class of {name}; relabel to another")
        if places[name] in found:
            raise InputError(f"{path}, line {number}: {name} stands there twice")
        found[places[name]] = label
    missing = [name for name, place in places.items() if place not in found]
    if missing:
        raise InputError(
            f"{path}: no new label for {missing[0]}" + (f" and {len(missing) - 1} more" * (len(missing) > 1))
        )
    return torch.tensor([found[place] for place in range(len(forget))])


def known_classes(model: ModelConfig) -> tuple[tuple[str, ...], tuple[NormalizedClassifier, ClassifierSpec] | None]:
    """Return the class names that a saved model or the configuration tells, and the model if it is saved.

    Raises:
        InputError: The model cannot be read.
    """
    if model.path is None:
        return model.classes or (), None
    loaded = load_classifier(Path(model.path))
    return loaded[1].classes, loaded


def describe_model(model: ModelConfig, inputs: Inputs) -> ClassifierSpec:
    """Return the description of an architecture for these images; its normalisation is theirs unless it is given.

    Raises:
        InputError: A given normalisation has another number of channels.
    """
    channels = inputs.forget.images.shape[1]
    if model.mean is not None and model.std is not None:
        mean, std = model.mean, model.std
    else:
        known = inputs.remaining if inputs.remaining is not None and len(inputs.remaining) else inputs.forget
        mean, std = pixel_statistics(known)
    return ClassifierSpec(
        str(model.architecture), len(inputs.classes), channels, mean, std, dict(model.options), inputs.classes
    )


def check_pretrained(spec: ClassifierSpec) -> None:
    """Raise ``InputError`` if timm's weights of an architecture have another number of classes than it is to have.

    timm would then begin with a head that nobody has trained.
    """
    known = timm.get_pretrained_cfg(spec.architecture)
    if known is not None and known.num_classes != spec.num_classes:
        raise InputError(
            f"model.pretrained: the weights of {spec.architecture} are of {known.num_classes} classes, but "
            f"{spec.num_classes} are named; model.classes must name all of them, in the order of the outputs"
        )


def load_weights(spec: ClassifierSpec, model: ModelConfig, seed: int) -> NormalizedClassifier:
    """Return the classifier that ``spec`` describes, with the weights that the configuration names or fresh ones.

    Raises:
        InputError: The weights cannot be read or do not fit.
    """
    found = build_classifier(spec, seed=derive_seed(seed, "weights"), pretrained=model.pretrained)
    if model.weights is not None:
        try:
            state = load_file(model.weights)
            _check_outputs(model.weights, state, found.classifier.state_dict(), spec.num_classes)
            found.classifier.load_state_dict(state)
        except FileNotFoundError:
            raise InputError(f"model.weights: {model.weights}: no such file") from None
        except SafetensorError:
            raise InputError(
                f"model.weights: {model.weights}: is not a safetensors file; convert a checkpoint of torch by "
                "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
            ) from None
        except (OSError, RuntimeError) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"model.weights: {model.weights}: cannot be loaded: {first_line}") from None
        check_finite(found, model.weights)
    return found


def _check_outputs(file: str, state: Mapping[str, Tensor], own: Mapping[str, Tensor], num_classes: int) -> None:
    """Raise ``InputError`` if the weights differ from the architecture's by the number of their outputs alone."""
    differing = [name for name, value in own.items() if name in state and state[name].shape != value.shape]
    of_the_head = [
        name
        for name in differing
        if own[name].shape[:1] == (num_classes,) and own[name].shape[1:] == state[name].shape[1:]
    ]
    if differing and differing == of_the_head:
        raise InputError(
            f"model.weights: {file}: the weights are of {len(state[differing[0]])} classes, but {num_classes} are "
            "named; model.classes must name all, in the order of the outputs"
        )


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


def _in_terms_of(images: ImageSet, classes: Sequence[str], what: str) -> ImageSet:
    """Return the images with labels that count in ``classes``."""
    if images.classes == tuple(classes):
        return images
    unknown = [name for name in images.classes if name not in classes]
    if unknown:
        raise InputError(f"{what}: the model has no class '{unknown[0]}'; it has {', '.join(classes)}")
    order = torch.tensor([classes.index(name) for name in images.classes])
    return ImageSet(images.images, order[images.labels], images.names, tuple(classes))


def _duplicates(forget: ImageSet, remaining: ImageSet) -> tuple[int, int]:
    """Count the remaining images that equal, and that nearly equal, one to be forgotten."""
    wanted = _rows(forget.images)
    same = near = 0
    limit = NEAR**2 * wanted.shape[1]
    for begin in range(0, len(remaining), _CHUNK):
        rows = _rows(remaining.images[begin : begin + _CHUNK])
        nearest = torch.cdist(rows, wanted).square().amin(dim=1)
        # cdist rounds; what is this near is compared byte by byte.
        for place in (nearest < limit).nonzero().flatten().tolist():
            image = remaining.images[begin + place]
            if bool((forget.images == image).flatten(1).all(dim=1).any()):
                same += 1
            else:
                near += 1
    return same, near


def _rows(images: Tensor) -> Float[Tensor, "n pixels"]:
    return images.flatten(1).float() / 255
