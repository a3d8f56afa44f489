"""The self-supervised losses, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from myosotis.continual.selfsupervised.bases.barlow import BarlowTwins
from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.bases.byol import BYOL
from myosotis.continual.selfsupervised.bases.moco import MoCo
from myosotis.continual.selfsupervised.bases.simclr import SimCLR
from myosotis.continual.selfsupervised.bases.vicreg import VICReg
from myosotis.engine.registry import Registry

BASES: Registry[Base[Any]] = Registry(
    Base,
    (
        MoCo,
        SimCLR,
        BYOL,
        BarlowTwins,
        VICReg,
    ),
    "base",
)
"""Every base by its name."""


def build_base(name: str, settings: Mapping[str, Any] | None = None) -> Base[Any]:
    """Return a base.

    Args:
        name: A key of :data:`BASES`.
        settings: Fields of its settings, e.g. ``{"queue": 4096}``.

    Raises:
        SettingsError: The name or a setting is unknown, or a value is out of range.
    """
    return BASES.build(name, settings)


__all__ = ["BASES", "Base", "Step", "build_base"]
