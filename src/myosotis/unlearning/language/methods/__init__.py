"""The unlearning methods, by the name that a configuration gives them."""

from collections.abc import Mapping
from typing import Any

from myosotis.engine.method import check_method, validated
from myosotis.engine.registry import Registry
from myosotis.unlearning.language.methods.composite import Composite, parts_of
from myosotis.unlearning.language.methods.counterfactual import Counterfactual
from myosotis.unlearning.language.methods.cross_entropy_unlearning import CEU
from myosotis.unlearning.language.methods.dpo import DPO, AltPO
from myosotis.unlearning.language.methods.gradient_ascent import GradientAscent, GradientDifference, KLMinimisation
from myosotis.unlearning.language.methods.inverted_hinge import IHL
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.misdirection import RMU
from myosotis.unlearning.language.methods.npo import NPO
from myosotis.unlearning.language.methods.primal_dual import PDU
from myosotis.unlearning.language.methods.refusal import IDK
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.simnpo import SimNPO
from myosotis.unlearning.language.methods.task_vector import TaskVector
from myosotis.unlearning.language.methods.term import Side, Sides, Term
from myosotis.unlearning.language.methods.undial import UNDIAL
from myosotis.unlearning.language.methods.weighted_ascent import WGA, SatImp

METHODS: Registry[Method] = Registry(
    Method,
    (
        IHL,
        Counterfactual,
        GradientAscent,
        GradientDifference,
        KLMinimisation,
        NPO,
        SimNPO,
        DPO,
        AltPO,
        IDK,
        WGA,
        SatImp,
        UNDIAL,
        CEU,
        PDU,
        RMU,
        TaskVector,
        Composite,
    ),
)
"""Every method by its name."""


def build_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with its paper's defaults, changed by ``settings``.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's class, e.g. ``{"beta": 0.2, "retain": None}``. The ``forget`` parts of a
            composite are mappings with a ``name`` and the settings of that method.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> build_method("npo", {"beta": 0.2}).beta
        0.2
        >>> composite = build_method("composite", {"forget": [{"name": "ihl"}], "retain_terms": {"nll": 1, "kl": 0.5}})
        >>> {term.name: weight for weight, term in composite.terms()}
        {'forget_hinge': 1.0, 'retain_nll': 1.0, 'retain_kl': 0.5}
    """
    given = dict(settings or {})
    if name == Composite.card.name:
        check_method(name, given, METHODS)
        parts = tuple(build_method(part, chosen) for part, chosen in parts_of(given))
        weights = validated(name, dict[RetainName, float], given.get("retain_terms", {}))
        return Composite(**{**given, "forget": parts, "retain_terms": weights})
    return METHODS.build(name, given)


__all__ = ["METHODS", "Method", "Side", "Sides", "Term", "build_method"]
