"""A first configuration for a classifier that is a file of weights: what it is of, and how it was shown its pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from myosotis.data.image_folders import read_image_folder
from myosotis.engine.errors import InputError
from myosotis.init.draft import Draft, quoted, run_name, shown_path
from myosotis.init.look import ImageFolder, by_role, look_at_images
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, pretrained_size
from myosotis.models.recognition import Recognised, recognise
from myosotis.models.weight_files import load_weights_file

PHOTO_ROLES = (
    ("forget", ("forget", "delete", "erase", "request")),
    ("test", ("test", "val")),
    ("train", ("train",)),
)
"""Roles of folders of photos, by words in their names."""

_SMALL = 64
_TRIED = 100
"""Images that the usual normalisations are tried on."""

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_USUAL: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "that of ImageNet": _IMAGENET,
    "to -1 to 1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""What pixels in [0, 1] usually become before they reach a network: mean and standard deviation of each channel."""


def draft_from_weights(weights: Path, paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-classifier`` for a file of weights.

    The architecture is told by the shapes of the tensors. Where the classes are known, the usual normalisations are
    tried on a hundred images at most, and the one with which the model is right most often is written.

    Args:
        weights: The file, safetensors or ``.pth``.
        paths: Folders of photos: to forget, a test set and a training set.
        folder: Folder of the configuration.

    Raises:
        InputError: The file is of no image classifier, or the photos to forget are missing.
    """
    found = recognise(weights)
    roles = by_role(paths, PHOTO_ROLES)
    if "forget" not in roles:
        raise InputError(f"the folder of photos to forget is missing beside the model {weights}")
    looks = {role: look_at_images(path) for role, path in roles.items()}
    if not looks["forget"].classes:
        raise InputError(f"{looks['forget'].path}: expected one folder per class, named as the model's outputs are")
    names = sorted({name for look in looks.values() for name in look.classes})
    classes = names if len(names) == found.num_classes else []
    size = _side(looks, found)
    remarks = [
        f"To forget: {looks['forget'].count} images of {len(looks['forget'].classes)} classes.",
        _of_architecture(weights, found),
    ]
    mean, std = (list(part[: found.in_channels]) for part in _IMAGENET)
    why = "those of ImageNet: say what this model was trained with"
    if classes and found.architecture is not None and found.in_channels == len(mean):
        judged = next(roles[role] for role in ("test", "train", "forget") if role in roles)
        right = _right_with(weights, found, classes, judged, size)
        best = max(right, key=lambda name: right[name])
        mean, std = map(list, _USUAL[best])
        why = f"{best}: the model is right about {right[best]:.0%} of images below {judged.name} with it"
        tried = ", ".join(f"{name} {share:.0%}" for name, share in right.items())
        remarks.append(
            f"Right with the usual normalisations: {tried}. If all are low, mean, size or classes are wrong."
        )
    elif not classes:
        remarks.append(
            f"The model has {found.num_classes} outputs, the folders have {len(names)} classes: name all of them in "
            "the order of the outputs."
        )
    scaled = "" if size is None else f", size: {size}"
    lines = [f"  forget: {{folder: {quoted(shown_path(roles['forget'], folder))}{scaled}}}"]
    for role, meaning in (("test", "images that the model never saw"), ("train", "what the model was trained on")):
        if role in roles:
            lines.append(f"  {role}: {{folder: {quoted(shown_path(roles[role], folder))}{scaled}}}  # {meaning}")
        else:
            lines.append(f"  # {role}: {{folder: ...{scaled}}}  # {meaning}: the report can say more with it")
    body = f"""
model:
  architecture: {found.architecture or '"???"'}  # {_of_names(found)}
  weights: {quoted(shown_path(weights, folder))}
  classes: {quoted(classes or [f"???{number}" for number in range(found.num_classes)])}  # in the order of the outputs
  mean: {quoted(mean)}  # of pixels in 0 to 1; {why}
  std: {quoted(std)}

data:
{chr(10).join(lines)}

{preset_line(retained="train" in roles)}

# What the report says of the request.
request: {{id: null, received: null, deadline: null}}
"""
    name = run_name("forget", roles["forget"].resolve().name)
    return Draft("unlearn-classifier", name, body, tuple(remarks))


def preset_line(*, retained: bool) -> str:
    """Return the line of the preset that the data allows: without retained images no teacher can be taught."""
    why = "answer as a model that never saw them" if retained else "without `train`: answer wrongly"
    name = "as_unseen" if retained else "recommended"
    return f"preset: {name}  # {why}; or goal, method and training, see myosotis methods unlearn-classifier"


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


def _right_with(
    weights: Path, found: Recognised, classes: Sequence[str], judged: Path, size: int | None
) -> dict[str, float]:
    """The share of some images that the model is right about, by the normalisation of their pixels."""
    images = read_image_folder(judged, size)
    chosen = images.subset(images.shuffled(0, "normalisation")[:_TRIED])
    labels = torch.tensor([classes.index(images.classes[label]) for label in chosen.labels.tolist()])
    pixels = chosen.pixels()
    if pixels.shape[1] < found.in_channels:
        pixels = pixels.expand(-1, found.in_channels, -1, -1)
    right = {}
    for name, (mean, std) in _USUAL.items():
        spec = ClassifierSpec(
            str(found.architecture),
            found.num_classes,
            found.in_channels,
            tuple(mean),
            tuple(std),
            classes=tuple(classes),
        )
        model = build_classifier(spec, seed=0)
        load_weights_file(model.classifier, weights)
        model.eval()
        with torch.no_grad():
            answers = torch.cat([model(part).argmax(dim=1) for part in pixels.split(20)])
        right[name] = (answers == labels).double().mean().item()
    return right
