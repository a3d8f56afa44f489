"""The model of a first configuration, where it is a file of weights: what it is of, and how it was shown its pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from myosotis.data.image_folders import read_image_folder
from myosotis.engine.errors import InputError
from myosotis.init.draft import quoted, shown_path
from myosotis.init.look import ImageFolder
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, pretrained_size
from myosotis.models.recognition import Recognised
from myosotis.models.weight_files import load_weights_file

_SMALL = 64
_TRIED = 100
"""Images that the usual normalisations are tried on."""

_KNOWN: Mapping[int, tuple[str, Sequence[float], Sequence[float]]] = {
    1: ("MNIST", (0.1307,), (0.3081,)),
    3: ("ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""By the channels, the data set whose statistics most networks are trained with: mean and standard deviation."""


@dataclass(frozen=True)
class DraftModel:
    """The model of a first configuration.

    Attributes:
        lines: Its part of the configuration.
        size: Side that images are scaled to; None for their own.
        remarks: What is said of it on the console.
    """

    lines: str
    size: int | None
    remarks: tuple[str, ...] = ()


def model_of_weights(weights: Path, found: Recognised, looks: Mapping[str, ImageFolder], folder: Path) -> DraftModel:
    """Return what a first configuration says of a file of weights.

    The architecture follows from the shapes of the tensors. Where the classes are known, the usual normalisations are
    tried on a hundred images at most, and the one with which the model is right most often is written.

    Args:
        weights: The file, safetensors or ``.pth``.
        found: What it is of.
        looks: Folders of photos by role, of which one is "forget".
        folder: Folder of the configuration.

    Raises:
        InputError: The images have other channels than the model.
    """
    names = sorted({name for look in looks.values() for name in look.classes})
    classes = names if len(names) == found.num_classes else []
    size = _side(looks, found)
    remarks = [_of_architecture(weights, found)]
    if found.in_channels not in _KNOWN:
        raise InputError(f"{weights}: reads images of {found.in_channels} channels; expected 1 or 3")
    known, mean, std = _KNOWN[found.in_channels]
    why = f"those of {known}: say what this model was trained with"
    if classes and found.architecture is not None:
        judged = next(looks[role] for role in ("test", "train", "forget") if role in looks)
        usual = _usual(found.in_channels)
        right = {
            name: _right_with(weights, found, classes, judged.path, size, *statistics)
            for name, statistics in usual.items()
        }
        best = max(right, key=lambda name: right[name])
        mean, std = usual[best]
        why = f"{best}: the model is right about {right[best]:.0%} of images below {judged.path.name} with it"
        tried = ", ".join(f"{name} {share:.0%}" for name, share in right.items())
        remarks.append(
            f"Right with the usual normalisations: {tried}. If all are low, mean, size or classes are wrong."
        )
    elif not classes:
        remarks.append(
            f"The model has {found.num_classes} outputs, the folders have {len(names)} classes: name all of them in "
            "the order of the outputs."
        )
    shown = quoted(classes or [f"???{number}" for number in range(found.num_classes)])
    lines = f"""model:
  architecture: {found.architecture or '"???"'}  # {_of_names(found)}
  weights: {quoted(shown_path(weights, folder))}
  classes: {shown}  # in the order of the outputs
  mean: {quoted(list(mean))}  # of pixels in 0 to 1; {why}
  std: {quoted(list(std))}"""
    return DraftModel(lines, size, tuple(remarks))


def _of_architecture(weights: Path, found: Recognised) -> str:
    if found.architecture is None:
        return (
            f"No architecture that was tried has the shapes of {weights.name}; the nearest: {_listed(found.nearest)}."
        )
    return f"The shapes of {weights.name} are those of {found.architecture}, with {found.num_classes} outputs."


def _of_names(found: Recognised) -> str:
    return "in timm's names" if found.architecture else f"in timm's names; the nearest: {_listed(found.nearest)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _side(looks: Mapping[str, ImageFolder], found: Recognised) -> int | None:
    """The side that images are scaled to: none where all are small squares, else what the architecture is used with."""
    sizes = {size for look in looks.values() for size in look.sizes}
    width, height = next(iter(sizes))
    if len(sizes) == 1 and width == height <= _SMALL:
        return None
    return (found.architecture and pretrained_size(found.architecture)) or 224


def _usual(channels: int) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
    """What pixels in [0, 1] usually become before they reach a network: mean and deviation of each channel."""
    known, mean, std = _KNOWN[channels]
    half, nothing, one = ((value,) * channels for value in (0.5, 0.0, 1.0))
    return {f"that of {known}": (mean, std), "to -1 to 1": (half, half), "none": (nothing, one)}


def _right_with(
    weights: Path,
    found: Recognised,
    classes: Sequence[str],
    judged: Path,
    size: int | None,
    mean: Sequence[float],
    std: Sequence[float],
) -> float:
    """The share of some images that the model is right about, by the normalisation of their pixels."""
    images = read_image_folder(judged, size)
    chosen = images.subset(images.shuffled(0, "normalisation")[:_TRIED])
    labels = torch.tensor([classes.index(images.classes[label]) for label in chosen.labels.tolist()])
    pixels = chosen.pixels()
    channels = found.in_channels
    if pixels.shape[1] != channels:
        raise InputError(f"{judged}: images have {pixels.shape[1]} channels, the model expects {channels}")
    spec = ClassifierSpec(
        str(found.architecture), found.num_classes, channels, tuple(mean), tuple(std), classes=tuple(classes)
    )
    model = build_classifier(spec, seed=0)
    load_weights_file(model.classifier, weights)
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(part).argmax(dim=1) for part in pixels.split(20)])
    return (answers == labels).double().mean().item()
