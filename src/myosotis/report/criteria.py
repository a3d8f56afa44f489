"""The table of the comparisons that a verdict rests on."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.report.document import Row, Table

_SIGNS = {"<=": "at most", ">=": "at least"}


def criteria_table(
    criteria: Sequence[Mapping[str, Any]], names: Mapping[str, str], confidence: float, unit: str
) -> Table:
    """Return a row for each criterion: value, interval, threshold, whether it holds and is decided.

    Args:
        criteria: Content of :class:`~myosotis.evaluation.verdict.Criterion` as it stands in ``result.json``.
        names: Names of the figures.
        confidence: Level of the intervals.
        unit: What the independent units are: ``"image"``, ``"subject"``.
    """
    rows = []
    for row in criteria:
        name = names[row["name"]]
        label = name[0].upper() + name[1:]
        units = f"{row['units']}" + (f" and {row['threshold_units']}" if row["threshold_units"] else "")
        of_all = "" if row["count"] == row["total"] else f"; {row['count']} of {row['total']} could be measured"
        note = f"against {row['threshold_of']}; {units} {unit}s{of_all}"
        if row["incomparable"] is not None:
            rows.append(Row(label, ["-", "-", "-", "cannot be compared", "-"], f"{note}; {row['incomparable']}"))
            continue
        holds, decided = ("yes" if row[key] else "no" for key in ("holds", "decided"))
        value, interval = f"{row['value']:.3f}", _ends(row["low"], row["high"])
        threshold = f"{_SIGNS[row['sign']]} {row['threshold']:.3f}"
        if row["threshold_low"] is not None:
            threshold += f" ({_ends(row['threshold_low'], row['threshold_high'])})"
        rows.append(Row(label, [value, interval, threshold, holds, decided], note))
    return Table(
        f"What the verdict rests on: each figure with its {confidence:.0%} interval. A comparison is decided where the "
        "interval of the difference allows only one answer.",
        ["Value", "Interval", "Threshold", "Holds", "Decided"],
        rows,
        "Criterion",
    )


def _ends(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
