"""The table and the plot of the comparisons that a verdict rests on."""

from collections.abc import Mapping, Sequence

from myosotis.evaluation.comparison import ANSWERS, Comparison
from myosotis.evaluation.intervals import Interval
from myosotis.report.document import Figure, Row, Table
from myosotis.report.figures import Point, dot_chart
from myosotis.report.groups import interval_text

_RULES = {"at most": "at most {:.3f} above", "at least": "at most {:.3f} below", "above": "above"}
_FARTHEST = 3.0
"""Shares of what is allowed that are drawn at most."""


def criteria_table(
    comparisons: Sequence[Comparison],
    names: Mapping[str, str],
    confidence: float,
    units: Mapping[str, str],
) -> Table:
    """Return a row for each comparison: value, what it is compared with, difference, what is allowed, and the answer.

    Args:
        comparisons: Comparisons of the result.
        names: Names of the figures.
        confidence: Level of each end of an interval.
        units: What the independent units of each comparison are, by its name: ``"image"``, ``"record"``, ``"subject"``.
    """
    rows = []
    for row in comparisons:
        label = sentence(names.get(row.name, row.name))
        value, against, difference = row.value, row.against, row.difference
        if row.incomparable is not None or value is None or against is None or difference is None:
            note = f"against {row.against_of}; {row.incomparable}"
            rows.append(Row(label, ["-", "-", "-", "-", "cannot be compared"], note))
            continue
        count = f"{value.units}" + (f" and {against.units}" if against.units else "")
        of_all = "" if value.count == row.total else f"; {value.count} of {row.total} could be measured"
        allowed = allowed_text(row.rule, row.margin, against)
        cells = [f"{value.mean:.3f}", f"{against.mean:.3f}", difference_text(difference), allowed]
        rows.append(
            Row(
                label,
                [*cells, answer_text(row)],
                f"against {row.against_of}; {count} {units[row.name]}s{of_all}",
            )
        )
    return Table(
        f"What the verdict rests on: each figure, what it is compared with, and the difference with its bounds at "
        f"{confidence:.0%} each. A comparison holds where the difference is shown to be allowed, and does not hold "
        "where it is shown not to be.",
        ["Value", "Against", "Difference", "Allowed", "Holds"],
        rows,
        "Criterion",
    )


def criteria_figure(comparisons: Sequence[Comparison], names: Mapping[str, str]) -> list[Figure]:
    """Return a plot of how much of what is allowed each comparison uses up; none if there is nothing to draw.

    Args:
        comparisons: Comparisons of the result.
        names: Names of the figures.
    """
    series: dict[str, list[Point]] = {}
    for row in comparisons:
        used = _share_of_allowed(row)
        if used is not None:
            label = sentence(names.get(row.name, row.name))
            mean, low, high = (None if end is None else max(-_FARTHEST, min(end, _FARTHEST)) for end in used)
            assert mean is not None  # noqa: S101 - a difference has a mean
            series.setdefault(ANSWERS[row.holds], []).append(Point(label, mean, low, high))
    drawn = {point.name for points in series.values() for point in points}
    labels = [sentence(names.get(row.name, row.name)) for row in comparisons]
    if not drawn:
        return []
    svg = dot_chart(
        series,
        x_label="share of the allowed difference",
        name="criteria",
        rows=[label for label in dict.fromkeys(labels) if label in drawn],
        limits=[1.0],
        wide=True,
    )
    caption = (
        "What the verdict rests on, as a share of what is allowed: a comparison holds where its bounds lie to the left "
        f"of the dashed line. Beyond {_FARTHEST:.0f} to either side everything is drawn at the edge."
    )
    left_out = len(set(labels) - drawn)
    if left_out:
        caption += f" {left_out} without a margin, or without bounds, stand in the table alone."
    return [Figure(svg, caption, wide=True)]


def _share_of_allowed(row: Comparison) -> tuple[float, float | None, float | None] | None:
    """The difference and its bounds as a share of the margin, positive in the direction that is bounded."""
    difference, against = row.difference, row.against
    if row.incomparable is not None or difference is None or against is None or row.rule == "above":
        return None
    sign = 1.0 if row.rule == "at most" else -1.0
    if row.margin > 0:
        scaled = difference.transformed(lambda end: sign * end / row.margin)
    elif not against.units and against.mean > 0:
        scaled = difference.transformed(lambda end: 1 + sign * end / against.mean)
    else:
        return None
    ends = (scaled.low, scaled.high) if sign > 0 else (scaled.high, scaled.low)
    return scaled.mean, *ends


def comparison_text(row: Comparison, name: str | None = None) -> str:
    """Return a figure with its interval, what it is against, and their difference; or why it cannot be compared.

    Args:
        row: The comparison.
        name: Name of the figure, if it is not that of the comparison.
    """
    title = sentence(name or row.name)
    if row.value is None or row.against is None or row.difference is None or row.incomparable is not None:
        return f"{title} cannot be compared: {row.incomparable}."
    value, against = (interval_text(part.mean, part.low, part.high) for part in (row.value, row.against))
    return f"{title}: {value}; {row.against_of}: {against}; difference {difference_text(row.difference)}."


def allowed_text(rule: str, margin: float, against: Interval) -> str:
    """Return what a comparison allows.

    Example:
        >>> measured, fixed = Interval(0.3, 0.2, 0.4, 8, 8), Interval(1.15, None, None, 0, 0)
        >>> allowed_text("at most", 0.1, measured), allowed_text("at most", 0.0, fixed)
        ('at most 0.100 above', 'at most 1.150')
    """
    return _RULES[rule].format(margin) if against.units else f"{rule} {against.mean:.3f}"


def answer_text(comparison: Comparison) -> str:
    """Return the answer of a comparison; where it holds, whether the figure is beyond the margin on the other side."""
    return "yes, and beyond it" if comparison.beyond and comparison.holds else ANSWERS[comparison.holds]


def difference_text(difference: Interval) -> str:
    """Return a difference with its bounds.

    Example:
        >>> difference_text(Interval(0.1, -0.05, 0.25, 8, 8))
        '+0.100 [-0.050, +0.250]'
    """
    low, high = difference.low, difference.high
    ends = "" if low is None or high is None else f" [{low:+.3f}, {high:+.3f}]"
    return f"{difference.mean:+.3f}{ends}"


def sentence(text: str) -> str:
    """Return a text with a capital first letter.

    Example:
        >>> sentence("fact accuracy")
        'Fact accuracy'
    """
    return text[:1].upper() + text[1:]
