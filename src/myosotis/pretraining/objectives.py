"""The objectives of pre-training, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from myosotis.engine.registry import Registry
from myosotis.engine.seeding import derive_seed, seeded
from myosotis.models.normalization import Normalize
from myosotis.pretraining.mae import MaeObjective
from myosotis.pretraining.masked_model import MaskedModel, Objective
from myosotis.pretraining.maskers import Masker
from myosotis.pretraining.simmim import SimMIMObjective

OBJECTIVES: Registry[Objective] = Registry(Objective, (MaeObjective, SimMIMObjective), "objective")
"""Every objective by its name."""


def build_model(
    name: str,
    settings: Mapping[str, Any],
    encoder: nn.Module,
    masker: Masker[Any],
    shape: tuple[int, int, int],
    *,
    seed: int,
    normalize: Normalize | None = None,
    pretrained: bool = False,
    recompute: bool = False,
) -> MaskedModel:
    """Return a network that is to be pre-trained.

    Args:
        name: A key of :data:`OBJECTIVES`.
        settings: Fields of the objective, e.g. ``{"decoder_dim": 192}``.
        encoder: A model of timm; trained in place.
        masker: The choice of what is hidden.
        shape: Channels, height and width of images.
        seed: Seed of all new weights.
        normalize: Applied to all images; None leaves them as they are.
        pretrained: Whether the encoder keeps its weights and positions.
        recompute: Gradient checkpointing.

    Raises:
        ValueError: Something does not fit.
    """
    objective = OBJECTIVES.build(name, settings)
    with seeded(derive_seed(seed, "decoder")):
        return objective.build(
            encoder, masker, shape=shape, normalize=normalize, fresh=not pretrained, recompute=recompute
        )
