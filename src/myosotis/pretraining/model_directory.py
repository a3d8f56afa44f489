"""The directory of a pre-trained network: what a run writes, and how it is read again."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_json, write_tensors
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, save_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.weight_files import Pretrained
from myosotis.pretraining.masked_model import MaskedModel
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.objectives import build_model

_DESCRIPTION = "pretraining.json"
_REST = "pretraining.safetensors"
_ENCODER = "encoder."


@dataclass(frozen=True)
class PretrainSpec:
    """The specification of a pre-trained network.

    Attributes:
        objective: A key of :data:`~myosotis.pretraining.objectives.OBJECTIVES`.
        objective_settings: Settings of the objective.
        masker: A key of :data:`~myosotis.pretraining.maskers.MASKERS`.
        masker_settings: Settings of the masker.
        encoder: Specification of the encoder, a classifier without classes.
        size: Height and width of images.
        seed: Seed of its initial weights.
    """

    objective: str
    objective_settings: dict[str, Any]
    masker: str
    masker_settings: dict[str, Any]
    encoder: ClassifierSpec
    size: tuple[int, int]
    seed: int


def for_masking(spec: ClassifierSpec, size: tuple[int, int]) -> ClassifierSpec:
    """Return a specification with options that suit pre-training, where they are not set.

    A plain vision transformer takes the size of the images, and its features are the mean of its patch tokens behind
    the norm that the decoder sees: the class token learns nothing in masked autoencoders.

    Raises:
        InputError: The architecture or an option is unknown.
    """
    plain: Any = build_classifier(spec).classifier
    if not isinstance(plain, VisionTransformer):
        return spec
    options = {"img_size": list(size), "global_pool": "avg", "fc_norm": False, **spec.options}
    return ClassifierSpec(spec.architecture, 0, spec.in_channels, spec.mean, spec.std, options)


def make_pretrained(spec: PretrainSpec, *, pretrained: Pretrained = False, recompute: bool = False) -> MaskedModel:
    """Return a network as it is before pre-training.

    Raises:
        InputError: Something does not fit.
    """
    encoder = build_classifier(spec.encoder, seed=spec.seed, pretrained=pretrained)
    try:
        return build_model(
            spec.objective,
            spec.objective_settings,
            encoder.classifier,
            build_masker(spec.masker, spec.masker_settings),
            (spec.encoder.in_channels, *spec.size),
            seed=spec.seed,
            normalize=encoder.normalize,
            pretrained=pretrained is not False,
            recompute=recompute,
        )
    except (SettingsError, AssertionError, RuntimeError) as error:
        raise InputError(str(error).splitlines()[0]) from None


def save_pretrained(model: MaskedModel, spec: PretrainSpec, path: Path) -> None:
    """Write a network into a directory.

    Its encoder is read by :func:`~myosotis.models.image_classifier.load_classifier`, and by timm itself: the weights in
    ``model.safetensors`` have the names of the architecture. Weights that are needed for pre-training only are written
    beside them.
    """
    encoder = NormalizedClassifier(model.encoder, spec.encoder.mean, spec.encoder.std)
    save_classifier(encoder, spec.encoder, path)
    rest = {name: value.cpu() for name, value in model.state_dict().items() if not name.startswith(_ENCODER)}
    write_tensors(path / _REST, rest)
    write_json(path / _DESCRIPTION, asdict(spec))


def load_pretrained(path: Path) -> tuple[MaskedModel, PretrainSpec]:
    """Read what :func:`save_pretrained` wrote.

    Returns:
        The network in evaluation mode, and its specification.

    Raises:
        InputError: Something is missing or does not fit.
    """
    spec = read_spec(path)
    model = make_pretrained(spec)
    load_weights(model, path)
    return model.eval(), spec


def read_spec(path: Path) -> PretrainSpec:
    """Read the specification of a network in a directory.

    Raises:
        InputError: The directory has no specification.
    """
    description = path / _DESCRIPTION
    if not description.is_file():
        raise InputError(f"model {path}: the directory holds no {_DESCRIPTION}, so it was not pre-trained by masking")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        body = dict(content["encoder"])
        for key in ("mean", "std", "classes"):
            body[key] = tuple(body[key])
        height, width = content["size"]
        return PretrainSpec(
            str(content["objective"]),
            dict(content["objective_settings"]),
            str(content["masker"]),
            dict(content["masker_settings"]),
            ClassifierSpec(**body),
            (int(height), int(width)),
            int(content["seed"]),
        )
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        raise InputError(f"{description}: does not describe a pre-trained network") from None


def directory_hash(path: Path) -> str:
    """Return the SHA-256 of what :func:`save_pretrained` wrote into a directory.

    Raises:
        InputError: A file is missing.
    """
    digest = hashlib.sha256()
    for name in (_DESCRIPTION, "model.safetensors", _REST):
        try:
            with (path / name).open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            raise InputError(f"{path / name}: {error.strerror or error}") from None
    return digest.hexdigest()


def load_weights(model: MaskedModel, path: Path) -> None:
    """Load the weights of a network of the same kind.

    A second decoder that only one of the two maskers needs is initialised anew, or left out.

    Raises:
        InputError: They do not fit.
    """
    try:
        encoder = load_file(path / "model.safetensors")
        rest = load_file(path / _REST)
        known = model.state_dict()
        loaded = {
            name: value
            for name, value in {**rest, **{_ENCODER + name: value for name, value in encoder.items()}}.items()
            if name in known or not name.startswith("loss_decoder.")
        }
        fresh = {name: value for name, value in known.items() if name.startswith("loss_decoder.")}
        model.load_state_dict({**fresh, **loaded})
    except (OSError, SafetensorError, RuntimeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: its weights cannot be loaded: {first_line}") from None
