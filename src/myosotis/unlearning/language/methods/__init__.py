"""The unlearning methods, by the name that a configuration gives them."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from myosotis.unlearning.language.methods.gradient_ascent import GradientAscent, GradientDifference, KLMinimisation
from myosotis.unlearning.language.methods.inverted_hinge import InvertedHinge
from myosotis.unlearning.language.methods.method import Method, Side, Sides, Term
from myosotis.unlearning.language.methods.preference import DPO, NPO, SimNPO
from myosotis.unlearning.language.methods.refusal import Refusal
from myosotis.unlearning.language.methods.retain import retain_term

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
            Refusal,
        )
    }
)
"""Every method by its name."""


def build_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with its paper's defaults, changed by ``settings``.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's class, e.g. ``{"beta": 0.2, "retain": None}``.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> build_method("npo", {"beta": 0.2}).beta
        0.2
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
    try:
        return TypeAdapter(METHODS[name]).validate_python(dict(settings or {}))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        raise ValueError(f"method '{name}'{f', {where}' if where else ''}: {message}") from None


__all__ = ["METHODS", "Method", "Side", "Sides", "Term", "build_method", "retain_term"]
