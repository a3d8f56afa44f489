"""The ways to learn from what is hidden, by the name that a configuration gives them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from myosotis.engine.method import Count, MethodCard, check_method, validated
from myosotis.engine.seeding import derive_seed
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.maskers import Masker
from myosotis.pretraining.objective import Reduction
from myosotis.pretraining.simmim import SimMIM
from myosotis.pretraining.training import MaskedModel


@dataclass(frozen=True)
class MaeSettings:
    """See :class:`~myosotis.pretraining.mae.MaskedAutoencoder`."""

    decoder_dim: Count = 512
    decoder_depth: Count = 8
    decoder_heads: Count = 16
    norm_pix: bool = True
    reduction: Reduction = "token"


@dataclass(frozen=True)
class SimMimSettings:
    """See :class:`~myosotis.pretraining.simmim.SimMIM`."""

    unit: Count = 32


_SETTINGS: Mapping[str, type[Any]] = MappingProxyType({"mae": MaeSettings, "simmim": SimMimSettings})

OBJECTIVES: Mapping[str, MethodCard] = MappingProxyType({"mae": MaskedAutoencoder.card, "simmim": SimMIM.card})
"""Every objective's card by its name."""


def check_objective(name: str, settings: Mapping[str, Any] | None = None) -> Any:
    """Return an objective's settings: defaults, changed by ``settings``.

    Args:
        name: A key of :data:`OBJECTIVES`.
        settings: Fields of its settings.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> check_objective("mae").decoder_dim
        512
    """
    check_method(name, settings or {}, _SETTINGS, what="objective")
    return validated(name, _SETTINGS[name], dict(settings or {}), what="objective")


def build_model(
    name: str,
    settings: Mapping[str, Any],
    encoder: nn.Module,
    masker: Masker[Any],
    shape: tuple[int, int, int],
    *,
    seed: int,
    pretrained: bool = False,
    recompute: bool = False,
) -> MaskedModel:
    """Return what is pre-trained.

    Args:
        name: See :func:`check_objective`.
        settings: Likewise.
        encoder: Of timm; trained in place.
        masker: Says what is hidden.
        shape: Channels, height and width of images.
        seed: Of everything that is new.
        pretrained: The encoder's weights and positions are its own and stay.
        recompute: Gradient checkpointing.

    Raises:
        ValueError: Something does not fit.
    """
    checked = check_objective(name, settings)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "decoder"))
        if name == "mae":
            return MaskedAutoencoder(encoder, masker, **asdict(checked), fresh=not pretrained, recompute=recompute)
        return SimMIM(encoder, masker, shape=shape, unit=checked.unit, recompute=recompute)
