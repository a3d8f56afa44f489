"""A saved model: a directory with a JSON description that is checked, and safetensors files."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from myosotis.engine.errors import InputError
from myosotis.engine.files import write_json, write_tensors

T = TypeVar("T")

_SHARED = "shared"


def write_description(description: Any, path: Path) -> None:
    """Write a dataclass or a pydantic model as JSON.

    Args:
        description: What a model is made of.
        path: The file, e.g. ``model/classifier.json``.
    """
    write_json(path, TypeAdapter(type(description)).dump_python(description, mode="json"))


def read_description(kind: type[T], path: Path, what: str) -> T:
    """Read what :func:`write_description` wrote.

    Args:
        kind: Dataclass or pydantic model; values are checked against its annotations.
        path: The file.
        what: Name of the thing that it describes, e.g. ``"a classifier"``.

    Raises:
        InputError: There is no such file, or it describes something else.
    """
    if not path.is_file():
        raise InputError(f"model {path.parent}: the directory holds no {path.name}, so it is not {what}")
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError:
        raise InputError(f"{path}: does not describe {what}") from None


def write_weights(path: Path, tensors: Mapping[str, Tensor], shared: Mapping[str, Tensor] | None = None) -> None:
    """Write tensors into a safetensors file, without those that another file of the directory holds.

    Args:
        path: The file.
        tensors: Tensors by name, on any device; they may share memory.
        shared: Tensors of ``model.safetensors`` in the same directory. Weights that are equal to one of them are not
            written; the metadata of the file names them.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_tensors(folder / "model.safetensors", {"fc.weight": torch.ones(2, 2)})
        >>> write_weights(folder / "net.safetensors", {"head": torch.ones(2, 2)}, {"fc.weight": torch.ones(2, 2)})
        >>> sorted(load_file(folder / "net.safetensors")), sorted(read_weights(folder / "net.safetensors"))
        ([], ['head'])
    """
    known = {_digest(tensor): name for name, tensor in (shared or {}).items() if _is_weight(tensor)}
    digests = {name: _digest(tensor) for name, tensor in tensors.items() if _is_weight(tensor)} if known else {}
    elsewhere = {name: known[digest] for name, digest in digests.items() if digest in known}
    # Copies: safetensors refuses tensors that share memory.
    own = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items() if name not in elsewhere}
    write_tensors(path, own, {_SHARED: json.dumps(elsewhere)} if elsewhere else None)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what :func:`write_weights` wrote, with the tensors that ``model.safetensors`` beside it holds.

    Raises:
        KeyError: That file lacks one of them.
        OSError: A file cannot be read.
        safetensors.SafetensorError: A file is damaged.
    """
    with safe_open(path, "pt") as content:
        elsewhere: dict[str, str] = json.loads((content.metadata() or {}).get(_SHARED, "{}"))
    tensors: dict[str, Tensor] = load_file(path)
    if elsewhere:
        shared = load_file(path.parent / "model.safetensors")
        # Copies: two names of one tensor are two tensors again, which may be changed apart.
        tensors |= {name: shared[other].clone() for name, other in elsewhere.items()}
    return tensors


@contextmanager
def readable_weights(path: Path) -> Iterator[None]:
    """Turn what goes wrong while weights are read into a model into an ``InputError`` of one line.

    Args:
        path: Directory or file that the weights come from.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError, KeyError, json.JSONDecodeError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: its weights cannot be loaded: {first_line}") from None


def _is_weight(tensor: Tensor) -> bool:
    """Whether it is worth sharing; counters would only be equal by chance."""
    return tensor.is_floating_point() and tensor.ndim > 0


def _digest(tensor: Tensor) -> bytes:
    """A digest of type, shape and bytes."""
    value = tensor.detach().cpu().contiguous()
    content = hashlib.sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    content.update(value.flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return content.digest()
