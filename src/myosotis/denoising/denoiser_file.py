"""The file of a neural denoiser: weights as safetensors, with a description in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_tensors

_KIND = "neural-denoiser"


def save_denoiser(denoiser: NeuralDenoiser, path: Path, notes: Mapping[str, Any] | None = None) -> None:
    """Write a denoiser into one safetensors file.

    Args:
        denoiser: A denoiser with Hamming's loss.
        path: The file.
        notes: Further content of the metadata, ready for JSON: names of symbols, how it was trained.

    Raises:
        SettingsError: The denoiser has a loss of its own.
    """
    if denoiser.loss is not None:
        raise SettingsError("a denoiser with a loss of its own cannot be written to a file")
    context = denoiser.context
    description = {
        "kind": _KIND,
        "symbols": denoiser.symbols,
        "context": {"half_width": context.half_width}
        if isinstance(context, Context1d)
        else {"neighbours": context.neighbours},
        "head": denoiser.head,
        "hidden": denoiser.hidden,
        "layers": denoiser.layers,
        "pad": denoiser.pad,
        "seed": denoiser.seed,
        "pretrained": denoiser.pretrained,
        "notes": dict(notes or {}),
    }
    weights = {name: value.cpu().contiguous() for name, value in denoiser.network.state_dict().items()}
    write_tensors(path, weights, {"myosotis": json.dumps(description)})


def load_denoiser(path: Path, *, device: torch.device | str = "cpu") -> tuple[NeuralDenoiser, dict[str, Any]]:
    """Read a file of :func:`save_denoiser`.

    Returns:
        The denoiser and its notes.

    Raises:
        InputError: The file is missing, damaged, or something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such model file")
    try:
        with safe_open(path, "pt") as content:
            description = json.loads((content.metadata() or {})["myosotis"])
            weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a mapping
        if description["kind"] != _KIND:
            raise KeyError("kind")
        shape = description["context"]
        context: Context = Context1d(shape["half_width"]) if "half_width" in shape else Context2d(shape["neighbours"])
        denoiser = NeuralDenoiser(
            int(description["symbols"]),
            context,
            head=description["head"],
            hidden=int(description["hidden"]),
            layers=int(description["layers"]),
            pad=description["pad"],
            seed=int(description["seed"]),
            device=device,
        )
        denoiser.network.load_state_dict(weights)
        denoiser.pretrained = bool(description["pretrained"])
        notes = dict(description["notes"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError):
        raise InputError(f"{path}: is not a model of a denoiser, or damaged") from None
    return denoiser, notes


def open_denoiser(path: Path) -> NeuralDenoiser:
    """Return the denoiser in a file for use.

    Raises:
        InputError: As :func:`load_denoiser`.
    """
    return load_denoiser(path)[0]
