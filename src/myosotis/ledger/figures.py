"""The figures of a verdict, with their intervals, whichever job it is of."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_VALUES = ("value", "mean")
_REFERENCES = ("threshold", "control", "level")


@dataclass(frozen=True)
class VerdictFigure:
    """A figure that a verdict rests on.

    Attributes:
        measure: Its name, with the names of the parts of the verdict that it is in.
        value: The figure.
        low: Lower end of its interval; None where there is none.
        high: Upper end.
        reference: Figure that it is compared with; None where there is none.
    """

    measure: str
    value: float
    low: float | None
    high: float | None
    reference: float | None = None


def figures_of(verdict: Mapping[str, Any] | None) -> list[VerdictFigure]:
    """Return the figures of a verdict that a job gave an interval, or says that it could not give one.

    Settings and counts are left out.

    Example:
        >>> row = {"name": "test", "value": {"mean": 0.9, "low": 0.8, "high": 0.95}, "against": {"mean": 0.92}}
        >>> figures_of({"kept": True, "keeping": [row]})
        [VerdictFigure(measure='keeping: test', value=0.9, low=0.8, high=0.95, reference=0.92)]
    """
    return list(_figures(verdict or {}, ()))


def number_text(value: float, digits: int = 3) -> str:
    """Return a figure as a short decimal with so many significant digits, the same on every machine."""
    return format(value, f".{digits}g")


def _figures(part: Any, path: tuple[str, ...]) -> Iterator[VerdictFigure]:
    if isinstance(part, list):
        for inner in part:
            yield from _figures(inner, path)
    if not isinstance(part, Mapping):
        return
    if isinstance(part.get("value"), Mapping):  # a Comparison
        value, against = part["value"], part.get("against")
        number = _number(value.get("mean"))
        if number is not None:
            low, high = (_number(value.get(end)) for end in ("low", "high"))
            measure = _text((*path, str(part.get("name"))))
            reference = _number(against.get("mean")) if isinstance(against, Mapping) else None
            yield VerdictFigure(measure, number, low, high, reference)
        return
    # Older lines of a ledger are as they were signed.
    if "low" in part and "high" in part and any(name in part for name in _VALUES):
        value = next((number for name in _VALUES if (number := _number(part.get(name))) is not None), None)
        if value is not None:
            own = part.get("name", part.get("measure"))
            names = path if own is None else (*path, str(own))
            reference = next((number for name in _REFERENCES if (number := _number(part.get(name))) is not None), None)
            yield VerdictFigure(_text(names), value, _number(part["low"]), _number(part["high"]), reference)
        return
    for name, inner in part.items():
        value = _number(inner)
        if value is None:
            yield from _figures(inner, (*path, name))
        elif f"{name}_low" in part and f"{name}_high" in part:
            low, high = (_number(part[f"{name}_{end}"]) for end in ("low", "high"))
            yield VerdictFigure(_text((*path, name)), value, low, high)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(names: tuple[str, ...]) -> str:
    return ": ".join(name.replace("_", " ") for name in names)
