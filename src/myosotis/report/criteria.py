"""The table of the comparisons that a verdict rests on."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.report.document import Row, Table

_RULES = {"at most": "at most {:.3f} above", "at least": "at most {:.3f} below", "above": "above"}
_ANSWERS = {True: "yes", False: "no", None: "undecided"}


def criteria_table(
    comparisons: Sequence[Mapping[str, Any]], names: Mapping[str, str], confidence: float, unit: str
) -> Table:
    """Return a row for each comparison: value, what it is compared with, difference, what is allowed, and the answer.

    Args:
        comparisons: Content of :class:`~myosotis.evaluation.comparison.Comparison` as it stands in ``result.json``.
        names: Names of the figures.
        confidence: Level of each end of an interval.
        unit: What the independent units are: ``"image"``, ``"subject"``.
    """
    rows = []
    for row in comparisons:
        label = sentence(names.get(row["name"], row["name"]))
        if row["incomparable"] is not None:
            note = f"against {row['against_of']}; {row['incomparable']}"
            rows.append(Row(label, ["-", "-", "-", "-", "cannot be compared"], note))
            continue
        value, against, difference = (row[key] for key in ("value", "against", "difference"))
        units = f"{value['units']}" + (f" and {against['units']}" if against["units"] else "")
        of_all = "" if value["count"] == row["total"] else f"; {value['count']} of {row['total']} could be measured"
        allowed = allowed_text(row["rule"], row["margin"], against)
        cells = [f"{value['mean']:.3f}", f"{against['mean']:.3f}", difference_text(difference), allowed]
        rows.append(Row(label, [*cells, answer_text(row)], f"against {row['against_of']}; {units} {unit}s{of_all}"))
    return Table(
        f"What the verdict rests on: each figure, what it is compared with, and the difference with its bounds at "
        f"{confidence:.0%} each. A comparison holds where the difference is shown to be allowed, and does not hold "
        "where it is shown not to be.",
        ["Value", "Against", "Difference", "Allowed", "Holds"],
        rows,
        "Criterion",
    )


def allowed_text(rule: str, margin: float, against: Mapping[str, Any]) -> str:
    """Return what a comparison allows.

    Example:
        >>> measured, fixed = {"mean": 0.3, "units": 8}, {"mean": 1.15, "units": 0}
        >>> allowed_text("at most", 0.1, measured), allowed_text("at most", 0.0, fixed)
        ('at most 0.100 above', 'at most 1.150')
    """
    return _RULES[rule].format(margin) if against["units"] else f"{rule} {against['mean']:.3f}"


def answer_text(comparison: Mapping[str, Any]) -> str:
    """Return the answer of a comparison; where it holds, whether the figure is beyond the margin on the other side."""
    if comparison["beyond"]:
        return "yes, and beyond it" if comparison["holds"] else _ANSWERS[comparison["holds"]]
    return _ANSWERS[comparison["holds"]]


def difference_text(difference: Mapping[str, Any]) -> str:
    """Return a difference with its bounds.

    Example:
        >>> difference_text({"mean": 0.1, "low": -0.05, "high": 0.25})
        '+0.100 (-0.050 to +0.250)'
    """
    ends = "" if difference["low"] is None else f" ({difference['low']:+.3f} to {difference['high']:+.3f})"
    return f"{difference['mean']:+.3f}{ends}"


def sentence(text: str) -> str:
    """Return a text with a capital first letter.

    Example:
        >>> sentence("fact accuracy")
        'Fact accuracy'
    """
    return text[:1].upper() + text[1:]
