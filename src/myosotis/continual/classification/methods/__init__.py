"""The methods of class-incremental learning, by the name that a configuration gives them."""

from collections.abc import Callable, Mapping
from typing import Any

from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.methods.bic import BiC
from myosotis.continual.classification.methods.closed_form import FeCAM, RanPAC, SimpleCIL
from myosotis.continual.classification.methods.dark_er import DERpp
from myosotis.continual.classification.methods.der_expand import DER
from myosotis.continual.classification.methods.eeil import EEIL
from myosotis.continual.classification.methods.er import ER
from myosotis.continual.classification.methods.ewc import EWC
from myosotis.continual.classification.methods.finetune import Finetune
from myosotis.continual.classification.methods.foster import FOSTER
from myosotis.continual.classification.methods.icarl import ICaRL
from myosotis.continual.classification.methods.joint import Joint
from myosotis.continual.classification.methods.lucir import LUCIR
from myosotis.continual.classification.methods.lwf import LwF
from myosotis.continual.classification.methods.podnet import PODNet
from myosotis.continual.classification.methods.ssil import SSIL
from myosotis.continual.classification.methods.wa import WA
from myosotis.engine.registry import Registry
from myosotis.models.backbone import Backbone

METHODS: Registry[Learner[Any]] = Registry(
    Learner,
    (
        Finetune,
        Joint,
        LwF,
        EWC,
        ER,
        ICaRL,
        WA,
        BiC,
        PODNet,
        LUCIR,
        SSIL,
        EEIL,
        DER,
        FOSTER,
        DERpp,
        SimpleCIL,
        RanPAC,
        FeCAM,
    ),
)
"""Every method by its name."""


def build_learner(
    name: str, settings: Mapping[str, Any] | None, make_backbone: Callable[[int], Backbone], seed: int = 0
) -> Learner[Any]:
    """Return a new learner.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's settings.
        make_backbone: Returns a new backbone from a seed.
        seed: Seed of every random choice.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.
    """
    return METHODS.build(name, settings, make_backbone, seed)


__all__ = ["METHODS", "Batch", "Learner", "Stage", "TaskState", "build_learner"]
