"""The unlearning methods, by the name that a configuration gives them."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from myosotis.unlearning.language.methods.composite import Composite, parts_of
from myosotis.unlearning.language.methods.gradient_ascent import GradientAscent, GradientDifference, KLMinimisation
from myosotis.unlearning.language.methods.inverted_hinge import InvertedHinge
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.misdirection import RMU
from myosotis.unlearning.language.methods.preference import DPO, NPO, AltPO, SimNPO
from myosotis.unlearning.language.methods.primal_dual import PrimalDual
from myosotis.unlearning.language.methods.refusal import Refusal
from myosotis.unlearning.language.methods.retain import RetainName
from myosotis.unlearning.language.methods.self_distillation import CrossEntropyUnlearning, Undial
from myosotis.unlearning.language.methods.task_vector import TaskVector
from myosotis.unlearning.language.methods.term import Side, Sides, Term
from myosotis.unlearning.language.methods.weighted_ascent import WGA, SatImp

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        method.card.name: method
        for method in (
            InvertedHinge,
            GradientAscent,
            GradientDifference,
            KLMinimisation,
            NPO,
            SimNPO,
            DPO,
            AltPO,
            Refusal,
            WGA,
            SatImp,
            Undial,
            CrossEntropyUnlearning,
            PrimalDual,
            RMU,
            TaskVector,
            Composite,
        )
    }
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
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(METHODS)}"
        raise ValueError(f"unknown method '{name}'; {hint}")
    known = {field.name for field in dataclasses.fields(METHODS[name])}
    for key in settings or {}:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known))}"
            raise ValueError(f"method '{name}' has no setting '{key}'; {hint}")
    given = dict(settings or {})
    if METHODS[name] is Composite:
        parts = tuple(build_method(part, chosen) for part, chosen in parts_of(given))
        weights = _validated(name, dict[RetainName, float], given.get("retain_terms", {}))
        return Composite(**{**given, "forget": parts, "retain_terms": weights})
    method: Method = _validated(name, METHODS[name], given)
    return method


def _validated(name: str, kind: Any, value: Any) -> Any:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"method '{name}'{f', {where}' if where else ''}: {message}") from None


__all__ = ["METHODS", "Method", "Side", "Sides", "Term", "build_method"]
