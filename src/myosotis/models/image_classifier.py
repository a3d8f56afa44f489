"""Image classifiers by name, and their directory: weights as safetensors and a description."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from myosotis.engine.artifact import read_description, readable_weights, write_description
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_tensors
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.predictor import ImageEncoder, ImagePredictor
from myosotis.models.resnet import SmallResNet

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
    """

    architecture: str
    num_classes: int
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def build_classifier(
    spec: ClassifierSpec, *, seed: int | None = None, pretrained: bool = False
) -> NormalizedClassifier:
    """Return a new classifier that takes images in [0, 1].

    Args:
        spec: Description of the classifier.
        seed: Seed of the initial weights; None uses torch's global generator.
        pretrained: Whether timm's weights for this architecture are loaded, which may download them.

    Raises:
        InputError: The architecture or an option of it is unknown, or it has no pre-trained weights.

    Example:
        >>> spec = ClassifierSpec("small-resnet", 10, 1, (0.5,), (0.5,), {"widths": [4, 8], "blocks": [1, 1]})
        >>> build_classifier(spec, seed=0)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    channels = {len(spec.mean), len(spec.std)}
    if channels != {spec.in_channels}:
        raise InputError(f"mean and std need {spec.in_channels} numbers each, one for each channel")
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed % 2**63)
        try:
            inner = _own_network(spec, pretrained) if spec.architecture in OWN else _timm_network(spec, pretrained)
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"architecture '{spec.architecture}': {error}") from None
        with settings_as_input():
            return NormalizedClassifier(inner, spec.mean, spec.std)


def _own_network(spec: ClassifierSpec, pretrained: bool) -> nn.Module:
    if pretrained:
        raise InputError(f"{spec.architecture} has no pre-trained weights")
    return OWN[spec.architecture](spec.in_channels, spec.num_classes, **spec.options)


def _timm_network(spec: ClassifierSpec, pretrained: bool) -> nn.Module:
    import timm  # over a second, which a wrong configuration should not wait for

    if not timm.is_model(spec.architecture.partition(".")[0]):
        close = difflib.get_close_matches(spec.architecture, [*OWN, *timm.list_models()], n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        raise InputError(f"unknown architecture '{spec.architecture}'{hint}")
    network: nn.Module = timm.create_model(
        spec.architecture,
        pretrained=pretrained,
        num_classes=spec.num_classes,
        in_chans=spec.in_channels,
        **spec.options,
    )
    return network


def pretrained_config(architecture: str) -> Any:
    """Return timm's description of the weights of an architecture; None if it has none."""
    import timm

    return timm.get_pretrained_cfg(architecture)


def pretrained_statistics(architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of the pixels for timm's weights of an architecture, if known."""
    config = pretrained_config(architecture)
    return None if config is None else (tuple(config.mean), tuple(config.std))


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
