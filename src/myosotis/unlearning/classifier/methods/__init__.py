"""The methods of instance-wise unlearning, by the name that a configuration gives them."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from myosotis.unlearning.classifier.methods.adversarial import Adversarial, AdversarialImportance
from myosotis.unlearning.classifier.methods.ascent import NegGrad, Relabel
from myosotis.unlearning.classifier.methods.distillation import BadTeacher, Scrub
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, Samples
from myosotis.unlearning.classifier.methods.retaining import FineTune, L1Sparse, NegGradPlus, Retrain
from myosotis.unlearning.classifier.methods.selective import SalUn, SelectiveSynapticDampening

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        method.card.name: method
        for method in (
            NegGrad,
            Relabel,
            Adversarial,
            AdversarialImportance,
            FineTune,
            NegGradPlus,
            Scrub,
            BadTeacher,
            SalUn,
            SelectiveSynapticDampening,
            L1Sparse,
            Retrain,
        )
    }
)
"""Every method by its name."""


def build_method(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with its paper's defaults, changed by ``settings``.

    Args:
        name: A key of :data:`METHODS`.
        settings: Fields of the method's class, e.g. ``{"eps": 1.0}``.

    Raises:
        ValueError: The name or a setting is unknown, or a value is out of range.

    Example:
        >>> build_method("adv", {"eps": 1.0}).eps
        1.0
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(METHODS)}"
        raise ValueError(f"unknown method '{name}'; {hint}")
    known = [field.name for field in dataclasses.fields(METHODS[name])]  # type: ignore[arg-type]
    for key in settings or {}:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
            raise ValueError(f"method '{name}' has no setting '{key}'; {hint}")
    try:
        method: Method = TypeAdapter(METHODS[name]).validate_python(dict(settings or {}))
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise ValueError(f"method '{name}'{f', {where}' if where else ''}: {fault['msg']}") from None
    return method


__all__ = ["METHODS", "Method", "Objective", "Request", "Samples", "build_method"]
