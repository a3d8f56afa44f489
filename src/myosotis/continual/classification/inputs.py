"""From the configuration of a job to its images, its stream and its learner."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.continuation import Earlier, check_same
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.saved import FirstEncoder, LearnerSpec, make_learner
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, class_incremental, drawn_order, task_sizes
from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.data.sets import limited
from myosotis.engine.errors import InputError, SettingsError, settings_as_input
from myosotis.models.image_classifier import ClassifierSpec
from myosotis.models.weight_files import Pretrained, weights_inputs


def make_scenario(
    config: ClassLearningConfig, train: ImageSet, test: ImageSet, earlier: Earlier | None = None
) -> Scenario:
    """Split the images of a job into its tasks; those of an earlier run come first.

    Args:
        config: Configuration of the job.
        train: Training images, see :func:`~myosotis.data.sets.read_sets`.
        test: Test images.
        earlier: Run that the stream goes on from.

    Raises:
        InputError: Sizes or classes do not fit together.
    """
    seed = config.seed
    train = limited(train, config.data.limit, seed, "data.limit")
    # Runs of several seeds are measured on the same test images.
    test = limited(test, config.data.test_limit, 0, "data.test_limit")
    stream = config.scenario
    first, per_task, options = stream.first, stream.per_task, dict(stream.order_options(seed))
    with settings_as_input("scenario"):
        if earlier is not None:
            train = _with_classes_of(test, train, earlier)
            new = _further_classes(earlier, train.classes, **options)
            first, *later = (*earlier.spec.sizes, *task_sizes(len(new), stream.first, stream.per_task))
            per_task = tuple(later)
            options = {"class_order": [*earlier.classes, *new], "learnt": len(earlier.classes)}
        return class_incremental(train, first, per_task, test=test, validation=stream.validation, seed=seed, **options)


def _with_classes_of(test: ImageSet, train: ImageSet, earlier: Earlier) -> ImageSet:
    """The training images with the labels of the test images, where only learnt classes have no training image."""
    missing = {name for name in test.classes if name not in train.classes}
    if not missing or not missing <= set(earlier.classes) or not set(train.classes) <= set(test.classes):
        return train
    labels = torch.tensor([test.classes.index(name) for name in train.classes])
    return replace(train, labels=labels[train.labels], classes=test.classes)


def _further_classes(
    earlier: Earlier, classes: Sequence[str], class_order: Any = None, order_seed: int | None = None
) -> list[str]:
    """The classes that an earlier run has not learnt, in the order of arrival."""
    missing = next((name for name in earlier.classes if name not in classes), None)
    if missing is not None:
        raise SettingsError(f"the class '{missing}' of {earlier.name} has no test images")
    if isinstance(class_order, list):
        begin = len(earlier.classes) if tuple(class_order[: len(earlier.classes)]) == earlier.classes else 0
        again = next((name for name in class_order[begin:] if name in earlier.classes), None)
        if again is not None:
            raise SettingsError(f"class_order: {earlier.name} has learnt '{again}' already, in another position")
        return [str(name) for name in class_order[begin:]]
    new = [name for name in classes if name not in earlier.classes]
    if not new:
        raise SettingsError(f"{earlier.name} has learnt every class already")
    return new if order_seed is None else drawn_order(new, order_seed)


def describe_learner(
    config: ClassLearningConfig,
    scenario: Scenario,
    encoder: FirstEncoder | None = None,
    earlier: Earlier | None = None,
) -> LearnerSpec:
    """Return the description of the learner of a job.

    Args:
        config: Configuration of the job.
        scenario: Stream of the job.
        encoder: Encoder that ``model.init_from`` names.
        earlier: Run that the stream goes on from.

    Raises:
        InputError: The encoder, or the earlier run, does not fit.
    """
    images, model = scenario.train, config.model
    if earlier is not None:
        check_same(earlier, config)
        sizes = tuple(len(task.classes) for task in scenario)
        return replace(earlier.spec, backbone=replace(earlier.spec.backbone, classes=images.classes), sizes=sizes)
    size = model.size()
    if encoder is not None:
        _check_encoder(config, scenario, encoder)
        mean, std, size = encoder.spec.backbone.mean, encoder.spec.backbone.std, encoder.spec.backbone.image_size
    else:
        # Of the first task only: later tasks are not available yet.
        mean, std = model.pixels() or pixel_statistics(images, scenario[0].train.indices)
    channels = model.channels(int(images.images.shape[1]))
    body = ClassifierSpec(model.architecture, 0, channels, mean, std, dict(model.options), images.classes, size)
    sizes = tuple(len(task.classes) for task in scenario)
    return LearnerSpec(config.method.name, config.method.settings, body, config.norm, sizes, config.seed)


def _check_encoder(config: ClassLearningConfig, scenario: Scenario, encoder: FirstEncoder) -> None:
    key, body = f"model.init_from {config.model.init_from}", encoder.spec.backbone
    model = config.model
    if (body.architecture, dict(body.options)) != (model.architecture, dict(model.options)):
        raise InputError(
            f"{key}: is a {body.architecture} with options {dict(body.options)}, 'model' is a {model.architecture} "
            f"with {dict(model.options)}"
        )
    plain = {"bn", "tbbn"}  # the same parameters, trained differently
    if encoder.spec.norm.kind != config.norm.kind and not {encoder.spec.norm.kind, config.norm.kind} <= plain:
        raise InputError(f"{key}: is normalised by '{encoder.spec.norm.kind}', 'norm' is '{config.norm.kind}'")
    known = set(body.classes[: encoder.spec.sizes[0]])
    first = {scenario.classes[label] for label in scenario[0].classes}
    if known != first:
        raise InputError(
            f"{key}: has learnt {', '.join(sorted(known))}, the first task here is {', '.join(sorted(first))}"
        )


def make_job_learner(config: ClassLearningConfig, spec: LearnerSpec, pretrained: Pretrained) -> Learner[Any]:
    """Return the new learner of a job.

    Args:
        config: Configuration of the job.
        spec: Description of the learner.
        pretrained: Weights that its body begins with.

    Raises:
        InputError: They do not fit.
    """
    learner, cache = make_learner(spec, pretrained=pretrained), config.model.feature_cache
    learner.feature_cache = None if cache is None else Path(cache)
    return learner


def job_inputs(images: Mapping[str, str], architecture: str, pretrained: Pretrained) -> dict[str, str]:
    """Return digests by name of everything that a job which starts from new weights reads.

    The job itself and each run of a protocol take what identifies their inputs from here.

    Args:
        images: Digests of the sets of images, see :func:`~myosotis.data.sets.input_fingerprints`.
        architecture: Name of the architecture.
        pretrained: Weights that its body begins with.

    Raises:
        InputError: The file of the weights cannot be read.
    """
    return {**images, **weights_inputs(architecture, pretrained)}


def make_memory(config: ClassLearningConfig) -> ExemplarMemory:
    """Return the empty exemplar memory of a job."""
    return ExemplarMemory(**config.memory.model_dump(), seed=config.seed)
