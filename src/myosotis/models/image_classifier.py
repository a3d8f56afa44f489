"""Image classifiers by name, and their directory: weights as safetensors and a description."""

import difflib
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from myosotis.engine.artifact import read_description, readable_weights, write_description
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_tensors
from myosotis.engine.seeding import seeded
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.predictor import ImageEncoder, ImagePredictor
from myosotis.models.resnet import SmallResNet
from myosotis.models.weight_files import PACKAGED, Pretrained, load_weights_file, timm_name, weights_file

OWN = {"small-resnet": SmallResNet}
"""Architectures of this package; other names are those of timm."""

CLASSIFIER = "classifier.json"
"""The file that describes a classifier."""
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ClassifierSpec:
    """Description of a classifier.

    Attributes:
        architecture: ``small-resnet``, or any name that timm knows.
        num_classes: Number of classes, C.
        in_channels: Channels of the images.
        mean: Mean of each channel, in units of [0, 1] pixels; the normalisation is the model's first module.
        std: Standard deviation of each channel.
        options: Further arguments of the architecture, e.g. ``{"widths": [16, 32]}``.
        classes: Names of the classes in the order of the logits, if known.
        image_size: Height and width that images are scaled to, in the model's first module; None leaves them as they
            are.
    """

    architecture: str
    num_classes: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    image_size: int | None = None


def build_classifier(
    spec: ClassifierSpec, *, seed: int | None = None, pretrained: Pretrained = False
) -> NormalizedClassifier:
    """Return a new classifier that takes images in [0, 1].

    Args:
        spec: Description of the classifier.
        seed: Seed of the initial weights; None uses torch's global generator.
        pretrained: See :data:`Pretrained`.

    Raises:
        InputError: The architecture or an option of it is unknown, it has no pre-trained weights, or the file of them
            is of another architecture.

    Example:
        >>> spec = ClassifierSpec("small-resnet", 10, 1, (0.5,), (0.5,), {"widths": [4, 8], "blocks": [1, 1]})
        >>> build_classifier(spec, seed=0)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    channels = {len(spec.mean), len(spec.std)}
    if channels != {spec.in_channels}:
        raise InputError(f"mean and std need {spec.in_channels} numbers each, one for each channel")
    with nullcontext() if seed is None else seeded(seed):
        file = weights_file(spec.architecture, pretrained)
        fetched = pretrained is True and file is None
        try:
            inner = _own_network(spec, fetched) if spec.architecture in OWN else _timm_network(spec, fetched)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"architecture '{spec.architecture}': {error}") from None
        if file is not None:
            load_weights_file(inner, file)
        with settings_as_input():
            return NormalizedClassifier(inner, spec.mean, spec.std, spec.image_size)


def _own_network(spec: ClassifierSpec, pretrained: bool) -> nn.Module:
    if pretrained:
        raise InputError(f"{spec.architecture} has no pre-trained weights")
    return OWN[spec.architecture](spec.in_channels, spec.num_classes, **spec.options)


def _timm_network(spec: ClassifierSpec, pretrained: bool) -> nn.Module:
    import timm  # over a second, which a wrong configuration should not wait for

    architecture = timm_name(spec.architecture)
    if not timm.is_model(architecture.partition(".")[0]):
        close = difflib.get_close_matches(spec.architecture, [*OWN, *PACKAGED, *timm.list_models()], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise InputError(f"unknown architecture '{spec.architecture}'{hint}")
    network: nn.Module = timm.create_model(
        architecture,
        pretrained=pretrained,
        num_classes=spec.num_classes,
        in_chans=spec.in_channels,
        **spec.options,
    )
    return network


def pretrained_config(architecture: str) -> Any:
    """Return timm's description of the weights of an architecture; None if it has none."""
    import timm

    return timm.get_pretrained_cfg(timm_name(architecture))


def pretrained_statistics(architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of the pixels for timm's weights of an architecture, if known."""
    config = pretrained_config(architecture)
    return None if config is None else (tuple(config.mean), tuple(config.std))


def pretrained_size(architecture: str) -> int | None:
    """Return the height and width of the images that timm's weights of an architecture expect, if known."""
    config = pretrained_config(architecture)
    return None if config is None else int(config.input_size[-1])


def save_classifier(model: NormalizedClassifier, spec: ClassifierSpec, path: Path) -> None:
    """Write a classifier's weights, under the names of its architecture, and its description into a directory."""
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / _WEIGHTS, {name: value.cpu() for name, value in model.classifier.state_dict().items()})
    write_description(spec, path / CLASSIFIER)


def load_classifier(path: Path) -> tuple[NormalizedClassifier, ClassifierSpec]:
    """Load a classifier that :func:`save_classifier` wrote.

    Returns:
        Classifier in evaluation mode, and its description.

    Raises:
        InputError: A file is missing or does not fit.
    """
    if path.is_file():
        raise InputError(f"model {path}: is a file; expected a directory with {CLASSIFIER} and {_WEIGHTS}")
    if not path.is_dir():
        raise InputError(f"model {path}: no such directory")
    if not (path / CLASSIFIER).is_file():
        inner = path / "model"
        hint = f"; did you mean {inner}?" if (inner / CLASSIFIER).is_file() else ""
        if (path / "learner.json").is_file():
            hint = ": a class learner, like iCaRL, that is not one linear head on one body"
        raise InputError(f"model {path}: the directory holds no {CLASSIFIER}, so it is not a classifier{hint}")
    spec = read_description(ClassifierSpec, path / CLASSIFIER, "a classifier")
    model = build_classifier(spec)
    with readable_weights(path / _WEIGHTS):
        model.classifier.load_state_dict(load_file(path / _WEIGHTS))
    check_finite(model, str(path / _WEIGHTS))
    return model.eval(), spec


def open_classifier(path: Path) -> ImagePredictor | ImageEncoder:
    """Return the classifier in a directory, ready for use; its encoder, if it has no classes.

    Raises:
        InputError: As :func:`load_classifier`.
    """
    model, spec = load_classifier(path)
    if not spec.num_classes:
        return ImageEncoder(model, model)
    return ImagePredictor(model, model, spec.classes or tuple(map(str, range(spec.num_classes))))


def check_finite(model: nn.Module, source: str) -> None:
    """Raise ``InputError`` if weights or running statistics from ``source`` hold infinity or NaN."""
    broken = [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise InputError(f"{source}: {len(broken)} of its weights hold infinity or NaN, {broken[0]} first")
