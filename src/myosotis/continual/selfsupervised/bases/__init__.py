"""The self-supervised losses, by the name that a configuration gives them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from myosotis.continual.selfsupervised.bases.barlow import Barlow
from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.bases.byol import Byol
from myosotis.continual.selfsupervised.bases.moco import Moco
from myosotis.continual.selfsupervised.bases.simclr import Simclr
from myosotis.continual.selfsupervised.bases.vicreg import Vicreg
from myosotis.engine.method import check_method, validated

BASES: Mapping[str, type[Base[Any]]] = MappingProxyType(
    {base.card.name: base for base in (Moco, Simclr, Byol, Barlow, Vicreg)}
)
"""Every base by its name."""


def check_base(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Return a base's settings: its paper's defaults, changed by ``settings``.

    Args:
        name: A key of :data:`BASES`.
        settings: Fields of the base's settings, e.g. ``{"queue": 4096}``.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> check_base("moco", {"queue": 4096}).temperature
        0.2
    """
    kinds = {known: base.Settings for known, base in BASES.items()}
    check_method(name, settings or {}, kinds, "base")
    return validated(name, kinds[name], dict(settings or {}), "base")


def build_base(name: str, settings: Mapping[str, Any] | None = None) -> Base[Any]:
    """Return a base; see :func:`check_base`."""
    checked = check_base(name, settings)
    return BASES[name](checked)


__all__ = ["BASES", "Base", "Step", "build_base", "check_base"]
