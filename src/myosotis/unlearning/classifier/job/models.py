"""The models that a job is given: described, loaded and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from myosotis.data.images import pixel_statistics
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.processes import processes
from myosotis.engine.seeding import derive_seed
from myosotis.models.image_classifier import (
    ClassifierSpec,
    build_classifier,
    load_classifier,
    pretrained_config,
    save_classifier,
)
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.weight_files import load_weights_file, read_weights_file
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig, ModelConfig
from myosotis.unlearning.classifier.job.inputs import Inputs


@dataclass(frozen=True)
class Models:
    """The models that a job is given.

    Attributes:
        base: The model that came in; fresh weights, if the job trains it first.
        spec: Description of all models of the job.
        reference: A model that never saw the instances, if the user gave one.
    """

    base: nn.Module
    spec: ClassifierSpec
    reference: nn.Module | None = None

    @property
    def body(self) -> str:
        """Name of the module, in each of the models, with the layers that are compared."""
        return "classifier"

    def settled(self, model: nn.Module) -> nn.Module:
        """Return a model that has just been unlearned as it is used. By default nothing is left to do."""
        return model

    def save(self, model: nn.Module, path: Path) -> None:
        """Write a model into a directory."""
        assert isinstance(model, NormalizedClassifier)  # noqa: S101 - every model of a job is one
        save_classifier(model, self.spec, path)

    def load(self, path: Path) -> nn.Module:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: It cannot be read.
        """
        return load_classifier(path)[0]

    def hash(self, model: nn.Module) -> str:
        """Return the hash that names a model."""
        return weights_hash(model)


def read_models(
    config: ClassifierUnlearningConfig, inputs: Inputs, saved: tuple[NormalizedClassifier, ClassifierSpec] | None
) -> Models:
    """Return the models of a job, which fit its images.

    Args:
        config: Configuration of the job.
        inputs: Images of the job.
        saved: The model of ``model.path``, as :func:`known_classes` returns it.

    Raises:
        InputError: A model cannot be read, or does not fit.
    """
    if saved is None:
        spec = describe_model(config.model, inputs)
        if config.model.pretrained and config.train is None:
            check_pretrained(spec)
        base = load_weights(spec, config.model, config.seed)
    else:
        base, spec = saved
    check_model(base, spec, inputs, "the model")
    if config.train is not None and config.train.batch_size % processes():
        raise InputError(f"train.batch_size is {config.train.batch_size}, not a multiple of {processes()} processes")
    if config.reference in (None, "retrain"):
        return Models(base, spec)
    reference, reference_spec = load_classifier(Path(str(config.reference)))
    check_model(reference, reference_spec, inputs, "the reference")
    return Models(base, spec, reference)


def known_classes(model: ModelConfig) -> tuple[tuple[str, ...], tuple[NormalizedClassifier, ClassifierSpec] | None]:
    """Return the class names, if the saved model or the configuration has them, and the model if it is saved.

    Raises:
        InputError: The model cannot be read.
    """
    if model.path is None:
        return model.classes or (), None
    loaded = load_classifier(Path(model.path))
    return loaded[1].classes, loaded


def describe_model(model: ModelConfig, inputs: Inputs) -> ClassifierSpec:
    """Return the description of an architecture; normalisation follows the images unless the configuration has one."""
    channels = inputs.forget.images.shape[1]
    if model.mean is not None and model.std is not None:
        mean, std = model.mean, model.std
    else:
        mean, std = pixel_statistics(inputs.remaining if inputs.remaining else inputs.forget)
    return ClassifierSpec(
        str(model.architecture), len(inputs.classes), channels, mean, std, dict(model.options), inputs.classes
    )


def check_pretrained(spec: ClassifierSpec) -> None:
    """Raise ``InputError`` if timm's weights have another number of classes: timm would add an untrained head."""
    config = pretrained_config(spec.architecture)
    if config is not None and config.num_classes != spec.num_classes:
        raise InputError(
            f"model.pretrained: the weights of {spec.architecture} are of {config.num_classes} classes, but "
            f"{spec.num_classes} are named; model.classes must name all of them, in the order of the outputs"
        )


def load_weights(spec: ClassifierSpec, settings: ModelConfig, seed: int) -> NormalizedClassifier:
    """Return the classifier that ``spec`` describes, with the weights that the configuration names or fresh ones.

    Raises:
        InputError: The weights cannot be read or do not fit.
    """
    model = build_classifier(spec, seed=derive_seed(seed, "weights"), pretrained=settings.pretrained)
    if settings.weights is not None:
        path = Path(settings.weights)
        try:
            tensors = read_weights_file(path)
            _check_outputs(path, tensors, model.classifier.state_dict(), spec.num_classes)
            match = load_weights_file(model.classifier, path, tensors)
        except InputError as error:
            raise InputError(f"model.weights: {error}") from None
        own = (name for name in model.classifier.state_dict() if not name.endswith("num_batches_tracked"))
        missing = next((name for name in own if name not in match.names), None)
        if missing is not None:
            raise InputError(f"model.weights: {path}: has nothing for {missing}, which a whole classifier has")
    return model


def _check_outputs(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor], num_classes: int) -> None:
    """Raise ``InputError`` if the weights differ from the architecture's by the number of their outputs alone."""
    differing = [name for name, value in own.items() if name in state and state[name].shape != value.shape]
    of_the_head = [
        name
        for name in differing
        if own[name].shape[:1] == (num_classes,) and own[name].shape[1:] == state[name].shape[1:]
    ]
    if differing and differing == of_the_head:
        raise InputError(
            f"{path}: the weights are of {len(state[differing[0]])} classes, but {num_classes} are "
            "named; model.classes must name all, in the order of the outputs"
        )


def check_model(model: nn.Module, spec: ClassifierSpec, inputs: Inputs, name: str) -> None:
    """Raise ``InputError`` unless a model takes the images of a job and returns logits of its classes."""
    if spec.classes and spec.classes != inputs.classes:
        raise InputError(
            f"{name} has the classes {', '.join(spec.classes)}, in this order; the images have "
            f"{', '.join(inputs.classes)}"
        )
    channels = inputs.forget.images.shape[1]
    if spec.in_channels != channels:
        # A normalisation would quietly spread one channel over three.
        raise InputError(f"{name} takes images with {spec.in_channels} channels, these have {channels}")
    images = inputs.forget.subset(range(min(2, len(inputs.forget)))).pixels()
    try:
        with torch.no_grad():
            logits = model.eval()(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{name} does not take these images: {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from None
    if logits.ndim != 2 or logits.shape[1] != len(inputs.classes):
        raise InputError(
            f"{name} must return logits of shape (batch, {len(inputs.classes)}), one for each class; "
            f"for {len(images)} images it gave {tuple(logits.shape)}"
        )
