"""The maskers, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from myosotis.engine.registry import Registry
from myosotis.pretraining.maskers.attention import AttentionMasker
from myosotis.pretraining.maskers.block import BlockMasker
from myosotis.pretraining.maskers.grid import GridMasker
from myosotis.pretraining.maskers.masker import Masker
from myosotis.pretraining.maskers.predicted_loss import PredictedLossMasker
from myosotis.pretraining.maskers.random import RandomMasker
from myosotis.pretraining.maskers.salience import SalienceMasker

MASKERS: Registry[Masker[Any]] = Registry(
    Masker,
    (
        RandomMasker,
        BlockMasker,
        GridMasker,
        SalienceMasker,
        AttentionMasker,
        PredictedLossMasker,
    ),
    "masker",
)
"""Every masker by its name."""


def build_masker(name: str, settings: Mapping[str, Any] | None = None) -> Masker[Any]:
    """Return a masker.

    Raises:
        SettingsError: The name or a setting is unknown, or settings do not go together.

    Example:
        >>> import torch
        >>> masker = build_masker("salience", {"warmup": 0.0})
        >>> mask = masker(torch.rand(2, 16, 8), grid=(4, 4), ratio=0.75, generator=torch.Generator().manual_seed(0))
        >>> mask.counts.tolist()
        [4, 4]
    """
    return MASKERS.build(name, settings)


__all__ = ["MASKERS", "Masker", "build_masker"]
