"""The self-supervised learner that a run leaves behind, and how it is taken up again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.continual.selfsupervised.network import encoder_width
from myosotis.continual.stream import read_learner, write_learner
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_json
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, save_classifier

_DESCRIPTION = "representation.json"


@dataclass(frozen=True)
class SslSpec:
    """What a learner is made of.

    Attributes:
        method: A key of :data:`~myosotis.continual.selfsupervised.methods.METHODS`.
        settings: Of the method.
        base: A key of :data:`~myosotis.continual.selfsupervised.bases.BASES`.
        base_settings: Of the base.
        encoder: What its encoder is made of, a classifier without classes.
        size: Height and width of the images.
        seed: Of its random choices.
    """

    method: str
    settings: dict[str, Any]
    base: str
    base_settings: dict[str, Any]
    encoder: ClassifierSpec
    size: tuple[int, int]
    seed: int


def make_ssl_learner(spec: SslSpec, *, pretrained: bool = False) -> SslLearner[Any]:
    """Return a learner that has seen nothing yet.

    Raises:
        InputError: The architecture does not fit, or does not return a vector of features.
    """
    encoder = build_classifier(spec.encoder, seed=spec.seed, pretrained=pretrained)
    with settings_as_input():
        width = encoder_width(encoder, torch.zeros(spec.encoder.in_channels, *spec.size))
        base = build_base(spec.base, spec.base_settings)
        return build_learner(spec.method, spec.settings, base, encoder, width, spec.seed)


def save_ssl_learner(learner: SslLearner[Any], spec: SslSpec, place: Path) -> None:
    """Write a learner into a directory, and its encoder as a classifier without classes.

    The latter is read by :func:`~myosotis.models.image_classifier.load_classifier`, and its weights stand under the
    names of the architecture in ``model.safetensors``.
    """
    place.mkdir(parents=True, exist_ok=True)
    write_learner(learner, place)
    write_json(place / _DESCRIPTION, asdict(spec))
    encoder: Any = learner.net.encoder
    save_classifier(encoder, spec.encoder, place)


def load_ssl_learner(place: Path) -> tuple[SslLearner[Any], SslSpec]:
    """Read what :func:`save_ssl_learner` wrote.

    Returns:
        The learner, ready for :meth:`~.learner.SslLearner.features`, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    description = place / _DESCRIPTION
    if not description.is_file():
        raise InputError(f"model {place}: the directory holds no {_DESCRIPTION}, so it is no self-supervised learner")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        body = dict(content["encoder"])
        for key in ("mean", "std", "classes"):
            body[key] = tuple(body[key])
        spec = SslSpec(
            str(content["method"]),
            dict(content["settings"]),
            str(content["base"]),
            dict(content["base_settings"]),
            ClassifierSpec(**body),
            (int(content["size"][0]), int(content["size"][1])),
            int(content["seed"]),
        )
        learner = make_ssl_learner(spec)
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, ValueError):
        raise InputError(f"{description}: does not describe a self-supervised learner") from None
    try:
        read_learner(learner, (), place)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place}: its weights cannot be loaded: {first_line}") from None
    return learner, spec
