"""The directory that a class learner is saved in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.methods import METHODS, build_learner
from myosotis.continual.classification.norm import convert_continual, convert_group, convert_task_balanced
from myosotis.continual.stream import load_saved, write_learner
from myosotis.engine.artifact import write_description
from myosotis.engine.errors import InputError, SettingsError, settings_as_input
from myosotis.engine.fingerprint import weights_hash
from myosotis.models.backbone import Backbone, as_classifier, build_backbone
from myosotis.models.image_classifier import ClassifierSpec, save_classifier
from myosotis.models.predictor import ImagePredictor
from myosotis.models.weight_files import Pretrained

LEARNER = "learner.json"
"""The file that describes a learner."""


@dataclass(frozen=True)
class LearnerSpec:
    """Description of a learner.

    Attributes:
        method: A key of :data:`~myosotis.continual.classification.methods.METHODS`.
        settings: Settings of the method.
        backbone: Description of its backbone, with the names of the classes in the order of arrival.
        norm: Normalisation of the backbone.
        sizes: Number of classes of each learnt task.
        seed: Seed of its random choices.
    """

    method: str
    settings: dict[str, Any]
    backbone: ClassifierSpec
    norm: NormConfig
    sizes: tuple[int, ...]
    seed: int


def backbone_maker(spec: LearnerSpec, *, pretrained: Pretrained = False) -> Callable[[int], Backbone]:
    """Return a function from a seed to a new backbone with the normalisation of the spec.

    Raises:
        InputError: On calling, if the architecture does not fit.
    """
    signed = METHODS[spec.method].signed_features

    def make(seed: int) -> Backbone:
        backbone = build_backbone(spec.backbone, seed=seed, pretrained=pretrained, signed=signed)
        with settings_as_input(f"norm '{spec.norm.kind}'"):
            exchange_norm(backbone, spec.norm)
        return backbone

    return make


def exchange_norm(module: nn.Module, norm: NormConfig) -> None:
    """Replace the batch normalisation in a module, in place, by that of ``norm``.

    Raises:
        SettingsError: The layers cannot be replaced, or there are none.
    """
    if norm.kind != "bn" and not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        raise SettingsError("the network has no batch normalisation to replace")
    if norm.kind == "tbbn":
        convert_task_balanced(module, divisor_of=norm.divisor_of, mode=norm.mode, sync=norm.sync)
    elif norm.kind == "cn":
        convert_continual(module, norm.groups)
    elif norm.kind == "gn":
        convert_group(module, norm.groups)


def make_learner(spec: LearnerSpec, *, pretrained: Pretrained = False) -> Learner[Any]:
    """Return a new learner.

    Raises:
        InputError: Architecture or normalisation do not fit.
    """
    learner = build_learner(spec.method, spec.settings, backbone_maker(spec, pretrained=pretrained), spec.seed)
    learner.body_spec = spec.backbone
    return learner


def save_learner(learner: Learner[Any], spec: LearnerSpec, path: Path) -> None:
    """Write a learner into a directory; if it predicts by a linear head on one backbone, as a plain classifier too.

    ``unlearn-classifier`` takes the plain classifier as ``model.path``; weights are written once.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_description(spec, path / LEARNER)
    plain, head = None, learner.linear_head()
    # The name of the architecture does not stand for continual or group normalisation.
    if head is not None and spec.norm.kind in ("bn", "tbbn"):
        plain = as_classifier(learner.net.backbone, spec.backbone, *head)
    if plain is not None:
        save_classifier(*plain, path)
    write_learner(learner, path, None if plain is None else plain[0].classifier.state_dict())


@dataclass(frozen=True)
class FirstEncoder:
    """An encoder that has learnt the first task of a stream.

    Attributes:
        weights: Weights of the backbone.
        spec: Description of the learner that it comes from.
        hash: Hash of the weights.
    """

    weights: dict[str, Tensor]
    spec: LearnerSpec
    hash: str


def load_first_encoder(path: Path) -> FirstEncoder:
    """Read the encoder that a learner had after its first task.

    Args:
        path: Run with ``keep_learners``, or directory of a learner.

    Raises:
        InputError: There is none, or it has learnt more than one task.
    """
    first = path / "learners" / "task-1"
    if not first.is_dir() and (path / "config.yaml").is_file():
        raise InputError(f"model.init_from {path}: the run saved no learners; run it again with 'keep_learners: true'")
    learner, spec = load_learner(first if first.is_dir() else path)
    if len(spec.sizes) != 1:
        raise InputError(f"model.init_from {path}: the learner has learnt {len(spec.sizes)} tasks, expected 1")
    encoder = learner.encoder()
    return FirstEncoder(dict(encoder.state_dict()), spec, weights_hash(encoder))


def load_learner(path: Path) -> tuple[Learner[Any], LearnerSpec]:
    """Read what :func:`save_learner` wrote.

    Returns:
        The learner, ready to :meth:`~myosotis.continual.classification.learner.Learner.predict`, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    return load_saved(LearnerSpec, path / LEARNER, "a learner", make_learner, lambda spec: spec.sizes)


def open_learner(path: Path) -> ImagePredictor:
    """Return the learner in a directory for use.

    Raises:
        InputError: Something is missing or does not fit.
    """
    learner, spec = load_learner(path)
    return ImagePredictor(learner.net, learner.predict, spec.backbone.classes[: sum(spec.sizes)])
