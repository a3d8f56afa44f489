"""The directory that a self-supervised learner is saved in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.continual.selfsupervised.network import encoder_width
from myosotis.continual.stream import load_saved, write_learner
from myosotis.engine.artifact import write_description
from myosotis.engine.errors import settings_as_input
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, save_classifier
from myosotis.models.weight_files import Pretrained

REPRESENTATION = "representation.json"
"""The file that describes a self-supervised learner."""


@dataclass(frozen=True)
class SslSpec:
    """Description of a learner.

    Attributes:
        method: A key of :data:`~myosotis.continual.selfsupervised.methods.METHODS`.
        settings: Settings of the method.
        base: A key of :data:`~myosotis.continual.selfsupervised.bases.BASES`.
        base_settings: Settings of the base.
        encoder: Description of its encoder, a classifier without classes.
        size: Height and width of the images.
        seed: Seed of its random choices.
    """

    method: str
    settings: dict[str, Any]
    base: str
    base_settings: dict[str, Any]
    encoder: ClassifierSpec
    size: tuple[int, int]
    seed: int


def make_ssl_learner(spec: SslSpec, *, pretrained: Pretrained = False) -> SslLearner[Any]:
    """Return a new learner.

    Raises:
        InputError: The architecture does not fit, or does not return a vector of features.
    """
    encoder = build_classifier(spec.encoder, seed=spec.seed, pretrained=pretrained)
    with settings_as_input():
        width = encoder_width(encoder, torch.zeros(spec.encoder.in_channels, *spec.size))
        base = build_base(spec.base, spec.base_settings)
        return build_learner(spec.method, spec.settings, base, encoder, width, spec.seed)


def save_ssl_learner(learner: SslLearner[Any], spec: SslSpec, path: Path) -> None:
    """Write a learner into a directory, and its encoder as a classifier without classes; weights are written once.

    The classifier is read by :func:`~myosotis.models.image_classifier.load_classifier`; its weights have the names of
    the architecture in ``model.safetensors``.
    """
    path.mkdir(parents=True, exist_ok=True)
    write_description(spec, path / REPRESENTATION)
    encoder: Any = learner.net.encoder
    save_classifier(encoder, spec.encoder, path)
    write_learner(learner, path, encoder.classifier.state_dict())


def load_ssl_learner(path: Path) -> tuple[SslLearner[Any], SslSpec]:
    """Read what :func:`save_ssl_learner` wrote.

    Returns:
        The learner, ready for :meth:`~.learner.SslLearner.features`, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    return load_saved(SslSpec, path / REPRESENTATION, "a self-supervised learner", make_ssl_learner, lambda _: ())
