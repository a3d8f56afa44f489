"""The methods of continual self-supervised learning, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from myosotis.continual.selfsupervised.bases import Base
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.methods.cassle import CaSSLe
from myosotis.continual.selfsupervised.methods.dark_er import DER
from myosotis.continual.selfsupervised.methods.er import ER
from myosotis.continual.selfsupervised.methods.ewc import EWC
from myosotis.continual.selfsupervised.methods.finetune import Finetune
from myosotis.continual.selfsupervised.methods.joint import Joint
from myosotis.continual.selfsupervised.methods.less_forget import LessForget
from myosotis.continual.selfsupervised.methods.lump import LUMP
from myosotis.continual.selfsupervised.methods.pfr import PFR
from myosotis.continual.selfsupervised.methods.pnr import PNR
from myosotis.engine.registry import Registry

METHODS: Registry[SslLearner[Any]] = Registry(
    SslLearner,
    (
        Finetune,
        Joint,
        CaSSLe,
        PNR,
        LessForget,
        PFR,
        LUMP,
        ER,
        DER,
        EWC,
    ),
)
"""Every method by its name."""


def build_learner(
    name: str, settings: Mapping[str, Any] | None, base: Base[Any], encoder: nn.Module, width: int, seed: int = 0
) -> SslLearner[Any]:
    """Return a new learner.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's settings.
        base: New base, see :func:`~myosotis.continual.selfsupervised.bases.build_base`.
        encoder: New network from images in [0, 1] to (batch, features).
        width: Number of features, see :func:`~myosotis.continual.selfsupervised.network.encoder_width`.
        seed: Seed of all other weights.

    Raises:
        ValueError: The name or a setting is unknown, a value is out of range, or a setting does not suit the base.
    """
    return METHODS.build(name, settings, base, encoder, width, seed)


__all__ = ["METHODS", "build_learner"]
