"""The methods of instance-wise unlearning, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from myosotis.engine.registry import Registry
from myosotis.unlearning.classifier.methods.adversarial import Adversarial, AdversarialImportance
from myosotis.unlearning.classifier.methods.ascent import NegGrad, Relabel
from myosotis.unlearning.classifier.methods.distillation import BadTeacher, IgnorantTeacher, Scrub
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, Samples
from myosotis.unlearning.classifier.methods.retaining import FineTune, L1Sparse, NegGradPlus, Retrain
from myosotis.unlearning.classifier.methods.selective import SalUn, SelectiveSynapticDampening

METHODS: Registry[Method] = Registry(
    Method,
    (
        NegGrad,
        Relabel,
        Adversarial,
        AdversarialImportance,
        FineTune,
        NegGradPlus,
        Scrub,
        BadTeacher,
        IgnorantTeacher,
        SalUn,
        SelectiveSynapticDampening,
        L1Sparse,
        Retrain,
    ),
)
"""Every method by its name."""


def build_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with its paper's defaults, changed by ``settings``.

    Args:
        name: Key of :data:`METHODS`.
        settings: Fields of the method's class, e.g. ``{"eps": 1.0}``.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> build_method("adv", {"eps": 1.0}).eps
        1.0
    """
    return METHODS.build(name, settings)


__all__ = ["METHODS", "Method", "Objective", "Request", "Samples", "build_method"]
