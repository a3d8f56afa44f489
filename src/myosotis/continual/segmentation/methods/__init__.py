"""The methods of class-incremental segmentation, by the name that a configuration gives them."""

from collections.abc import Callable, Mapping
from typing import Any

from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.methods.dkd_m import DKDM
from myosotis.continual.segmentation.methods.ewf import EWF
from myosotis.continual.segmentation.methods.finetune import Finetune
from myosotis.continual.segmentation.methods.joint import Joint
from myosotis.continual.segmentation.methods.mib import MiB
from myosotis.continual.segmentation.methods.mib_augm import MiBAugM
from myosotis.continual.segmentation.methods.mib_m import MiBM
from myosotis.continual.segmentation.methods.plop import PLOP
from myosotis.continual.segmentation.methods.ssul_m import SSULM
from myosotis.engine.registry import Registry
from myosotis.models.segmenter import SegmentationBody

METHODS: Registry[SegmentationLearner[Any]] = Registry(
    SegmentationLearner,
    (
        Finetune,
        Joint,
        MiB,
        MiBM,
        MiBAugM,
        PLOP,
        SSULM,
        DKDM,
        EWF,
    ),
)
"""Every method by its name."""


def build_learner(
    name: str, settings: Mapping[str, Any] | None, make_body: Callable[[int], SegmentationBody], seed: int = 0
) -> SegmentationLearner[Any]:
    """Return a new learner.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's settings.
        make_body: Returns a new body from a seed.
        seed: Seed of every random choice.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.
    """
    return METHODS.build(name, settings, make_body, seed)


__all__ = ["METHODS", "build_learner"]
