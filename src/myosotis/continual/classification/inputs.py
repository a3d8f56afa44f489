"""From the configuration of a job to its images, its stream and its learner."""

from typing import Any

import torch

from myosotis.continual.classification.config import ClassLearningConfig, DataConfig
from myosotis.continual.classification.saved import FirstEncoder, LearnerSpec
from myosotis.continual.classification.training import TrainSettings
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, class_incremental
from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.models.image_classifier import ClassifierSpec, pretrained_statistics


def read_sets(data: DataConfig) -> tuple[ImageSet, ImageSet]:
    """Read the training and the test images of the classes that take part; limits come later, as they need a seed.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    train, test = read_images(data.train), read_images(data.test)
    if data.only is not None:
        train, test = (_only(images, data.only) for images in (train, test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(f"training images are {_shape(train)}, test images {_shape(test)}; give a size")
    return train, test


def make_scenario(config: ClassLearningConfig, train: ImageSet, test: ImageSet) -> Scenario:
    """Split the images of a job into its tasks.

    Args:
        config: Of the job.
        train: As :func:`read_sets` returns it.
        test: Likewise.

    Raises:
        InputError: Sizes or classes do not fit together.
    """
    seed = config.seed
    train = _part(train, config.data.limit, seed, "data.limit")
    test = _part(test, config.data.test_limit, seed, "data.test_limit")
    stream = config.scenario
    # Classes without names of their own are called by their numbers, which YAML reads as such.
    named = isinstance(stream.class_order, tuple)
    order: Any = [str(one) for one in stream.class_order or ()] if named else None
    drawn = seed if stream.order_seed is None else stream.order_seed
    try:
        return class_incremental(
            train,
            stream.first,
            stream.per_task,
            test=test,
            order_seed=drawn if stream.class_order is None else None,
            class_order=order,
            validation=stream.validation,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(f"scenario: {error}") from None


def describe_learner(
    config: ClassLearningConfig, scenario: Scenario, encoder: FirstEncoder | None = None
) -> LearnerSpec:
    """Return what the learner of a job is made of.

    Args:
        config: Of the job.
        scenario: Its stream.
        encoder: What ``model.init_from`` names.

    Raises:
        InputError: The encoder does not fit.
    """
    images, model = scenario.train, config.model
    mean, std = model.mean, model.std
    if encoder is not None:
        _check_encoder(config, scenario, encoder)
        mean, std = encoder.spec.backbone.mean, encoder.spec.backbone.std
    if model.pretrained and (mean is None or std is None) and (known := pretrained_statistics(model.architecture)):
        mean, std = known
    if mean is None or std is None:
        # Of the first task: nothing is known of the others when the network is made.
        mean, std = pixel_statistics(images, scenario[0].train.places)
    body = ClassifierSpec(model.architecture, 0, images.images.shape[1], mean, std, dict(model.options), images.classes)
    sizes = tuple(len(task.classes) for task in scenario)
    return LearnerSpec(config.method.name, config.method.settings, body, config.norm, sizes, config.seed)


def _check_encoder(config: ClassLearningConfig, scenario: Scenario, encoder: FirstEncoder) -> None:
    where, body = f"model.init_from {config.model.init_from}", encoder.spec.backbone
    ours, theirs = config.model, (body.architecture, dict(body.options))
    if theirs != (ours.architecture, dict(ours.options)):
        raise InputError(f"{where}: is a {theirs[0]} with options {theirs[1]}, 'model' says otherwise")
    plain = {"bn", "tbbn"}  # the same network, trained otherwise
    if encoder.spec.norm.kind != config.norm.kind and not {encoder.spec.norm.kind, config.norm.kind} <= plain:
        raise InputError(f"{where}: is normalised by '{encoder.spec.norm.kind}', 'norm' says '{config.norm.kind}'")
    known = set(body.classes[: encoder.spec.sizes[0]])
    first = {scenario.classes[label] for label in scenario[0].classes}
    if known != first:
        raise InputError(
            f"{where}: has learnt {', '.join(sorted(known))}, the first task here is {', '.join(sorted(first))}"
        )


def make_memory(config: ClassLearningConfig) -> ExemplarMemory:
    """Return the exemplar memory of a job, still empty."""
    return ExemplarMemory(**config.memory.model_dump(), seed=config.seed)


def train_settings(config: ClassLearningConfig) -> TrainSettings:
    """Return how the tasks of a job are trained."""
    return TrainSettings(**config.training.model_dump())


def set_fingerprints(scenario: Scenario, salt: str) -> dict[str, str]:
    """Return one salted fingerprint of the training set as a whole, and one of the test set."""
    found = {}
    for name, images in (("train", scenario.train), ("test", scenario.test)):
        assert images is not None  # noqa: S101 - both have been read
        every = "".join(sorted(images.digest(place) for place in range(len(images))))
        found[name] = salted_fingerprint(every, salt)
    return found


def _only(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """The images of some classes, which are numbered in this order."""
    missing = next((name for name in classes if name not in images.classes), None)
    if missing is not None:
        raise InputError(f"data.only: there is no class {missing!r}; there are {', '.join(images.classes)}")
    if len(set(classes)) < len(classes):
        raise InputError("data.only: a class stands there twice")
    numbers = {images.classes.index(name): number for number, name in enumerate(classes)}
    places = [place for place, label in enumerate(images.labels.tolist()) if label in numbers]
    labels = torch.tensor([numbers[int(images.labels[place])] for place in places])
    part = images.subset(places)
    return ImageSet(part.images, labels, part.names, classes, images.skipped)


def _part(images: ImageSet, limit: int | None, seed: int, key: str) -> ImageSet:
    """So many images, the same number of each class but for the remainder."""
    if limit is None:
        return images
    if limit > len(images) or limit < len(images.classes):
        raise InputError(f"{key} is {limit}; it must be between {len(images.classes)} classes and {len(images)} images")
    order = images.shuffled(seed, "limit")
    rank: dict[int, int] = {}
    ranked = []
    for place in order:
        label = int(images.labels[place])
        rank[label] = rank.get(label, 0) + 1
        ranked.append((rank[label], place))
    # All firsts come before all seconds; ties as they were drawn.
    chosen = [place for _, place in sorted(ranked, key=lambda pair: pair[0])[:limit]]
    part = images.subset(sorted(chosen))
    return ImageSet(part.images, part.labels, part.names, part.classes, images.skipped)


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channels"
