"""Image classifiers by name, and the directory that one is kept in: weights as safetensors and a description."""

import difflib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_json, write_tensors
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.resnet import SmallResNet

OWN = {"small-resnet": SmallResNet}
"""Architectures of this package; every other name is asked of timm."""

_DESCRIPTION = "classifier.json"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ClassifierSpec:
    """What a classifier is made of.

    Attributes:
        architecture: ``small-resnet``, or any name that timm knows.
        num_classes: C.
        in_channels: Of the images.
        mean: Of each channel, in units of [0, 1] pixels; the normalisation is the model's first module.
        std: Likewise.
        options: Further arguments of the architecture, e.g. ``{"widths": [16, 32]}``.
        classes: Their names, in the order of the logits, where they are known.
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
        spec: What it is made of.
        seed: Of the initial weights; None leaves them to torch's global generator.
        pretrained: Take timm's weights for this architecture, which may be fetched; only on the user's word.

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
            if spec.architecture in OWN:
                if pretrained:
                    raise InputError(f"{spec.architecture} has no pre-trained weights")
                inner: nn.Module = OWN[spec.architecture](spec.in_channels, spec.num_classes, **spec.options)
            else:
                if not timm.is_model(spec.architecture.partition(".")[0]):
                    close = difflib.get_close_matches(spec.architecture, [*OWN, *timm.list_models()], n=1)
                    hint = f"; did you mean '{close[0]}'?" if close else ""
                    raise InputError(f"unknown architecture '{spec.architecture}'{hint}")
                inner = timm.create_model(
                    spec.architecture,
                    pretrained=pretrained,
                    num_classes=spec.num_classes,
                    in_chans=spec.in_channels,
                    **spec.options,
                )
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"architecture '{spec.architecture}': {error}") from None
        with settings_as_input():
            return NormalizedClassifier(inner, spec.mean, spec.std)


def pretrained_statistics(architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation of the pixels that timm's weights for an architecture were trained with, if it says."""
    config = timm.get_pretrained_cfg(architecture)
    return None if config is None else (tuple(config.mean), tuple(config.std))


def save_classifier(model: NormalizedClassifier, spec: ClassifierSpec, place: Path) -> None:
    """Write a classifier's weights, under the names of its architecture, and its description into a directory."""
    place.mkdir(parents=True, exist_ok=True)
    write_tensors(place / _WEIGHTS, {name: value.cpu() for name, value in model.classifier.state_dict().items()})
    write_json(place / _DESCRIPTION, asdict(spec))


def load_classifier(place: Path) -> tuple[NormalizedClassifier, ClassifierSpec]:
    """Read what :func:`save_classifier` wrote.

    Returns:
        The classifier in evaluation mode, and what it is made of.

    Raises:
        InputError: Something is missing or does not fit.
    """
    description = place / _DESCRIPTION
    if place.is_file():
        raise InputError(f"model {place}: is a file; expected a directory with {_DESCRIPTION} and {_WEIGHTS}")
    if not place.is_dir():
        raise InputError(f"model {place}: no such directory")
    if not description.is_file():
        inner = place / "model"
        hint = f"; did you mean {inner}?" if (inner / _DESCRIPTION).is_file() else ""
        if (place / "learner.json").is_file():
            hint = ": a class learner whose answers are not those of one linear head over one body, like iCaRL's"
        raise InputError(f"model {place}: the directory holds no {_DESCRIPTION}, so it is not a classifier{hint}")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        spec = ClassifierSpec(
            str(content["architecture"]),
            int(content["num_classes"]),
            int(content["in_channels"]),
            tuple(map(float, content["mean"])),
            tuple(map(float, content["std"])),
            dict(content["options"]),
            tuple(map(str, content.get("classes", ()))),
        )
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        raise InputError(f"{description}: does not describe a classifier") from None
    model = build_classifier(spec)
    try:
        model.classifier.load_state_dict(load_file(place / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place / _WEIGHTS}: cannot be loaded: {first_line}") from None
    check_finite(model, str(place / _WEIGHTS))
    return model.eval(), spec


def check_finite(model: nn.Module, source: str) -> None:
    """Raise ``InputError`` if weights or running statistics that came from ``source`` hold infinity or NaN."""
    broken = [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise InputError(f"{source}: {len(broken)} of its weights hold infinity or NaN, {broken[0]} first")
