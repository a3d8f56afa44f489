"""Files that are either whole or absent: written beside their place, flushed, then renamed."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def _flush(path: Path) -> None:
    """Ask the system to put a file, or the entries of a directory, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(staged: Path, place: Path) -> None:
    """Rename ``staged`` to ``place``, on the same file system, so that a reader sees the old thing or the new one.

    A directory already at ``place`` is removed just before, as a rename cannot replace it.
    """
    if place.is_dir():
        shutil.rmtree(place)
    _flush(staged)
    staged.replace(place)
    _flush(place.parent)


def _refuse_directory(path: Path) -> None:
    """A file never takes the place of a directory, which :func:`publish` would remove."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_text(place, "kept")
        >>> place.read_text()
        'kept'
    """
    _refuse_directory(path)
    staged = path.with_name(f".{path.name}.partial")
    staged.write_text(text, encoding="utf-8")
    publish(staged, path)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, as JSON has no word for them."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file atomically."""
    _refuse_directory(path)
    staged = path.with_name(f".{path.name}.partial")
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()},
        staged,
        dict(metadata) if metadata else None,
    )
    publish(staged, path)
