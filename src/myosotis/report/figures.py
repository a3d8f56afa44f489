"""Plots as inline SVG that fit light and dark pages, grey printers and colour-blind eyes."""

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator

COLOURS = {
    "forget": "#D55E00",
    "retain": "#0072B2",
    "unseen": "#009E73",
    "general": "#CC79A7",
    "neutral": "#888888",
    "sky": "#56B4E9",
    "orange": "#E69F00",
    "ink": "#123456",
}
"""The same colour for the same thing in every report (Okabe and Ito's palette); ``ink`` is the page's own."""

SERIES = ("retain", "forget", "unseen", "general", "sky", "orange", "neutral", "ink")
"""Colours of things that have none of their own, in this order."""

_DASHES = ("solid", "dashed", "dashdot", "dotted")
_MARKERS = ("o", "s", "^", "D")
_MOST_MARKERS = 20
_MOST_NAMES_INSIDE = 4
_MOST_LETTERS = 24
_MOST_CELLS = 12  # in a row of a heat map, for numbers to be legible
_INK = "#123456"  # stands for the page's own text colour until the SVG is finished


@dataclass(frozen=True)
class Line:
    """One curve: its name, points, the key of its colour, and the ends of intervals where there are any."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = "neutral"
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, tuple[float, str]] | None = None,
    best_is_low: bool = False,
    name: str,
) -> str:
    """Draw curves, each with its own colour, dash and marker, and return an SVG element.

    Args:
        lines: The curves.
        x_label: With its unit; steps or epochs, so its ticks are whole numbers.
        y_label: With its unit.
        levels: Horizontal lines by name: their height and the key of their colour.
        best_is_low: Let y fall from bottom to top, as for ranks.
        name: Unique on the page; keeps the inner names of several figures apart.
    """
    with _style(name):
        figure = MatplotlibFigure(figsize=(4.8, 3.0), layout="constrained")
        axes = figure.add_subplot()
        for index, line in enumerate(lines):
            axes.plot(
                line.x,
                line.y,
                label=line.name,
                color=COLOURS[line.colour],
                linestyle=_DASHES[index % len(_DASHES)],
                marker=_MARKERS[index % len(_MARKERS)],
                markevery=max(1, len(line.x) // _MOST_MARKERS),
                markersize=4,
                linewidth=1.6,
            )
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=COLOURS[line.colour], alpha=0.15, linewidth=0)
        for index, (label, (height, colour)) in enumerate((levels or {}).items()):
            axes.axhline(height, label=label, color=COLOURS[colour], linestyle=_DASHES[(index + 1) % 4], linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        _dress(axes, x_label, y_label)
        if best_is_low:
            axes.invert_yaxis()
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        # Many names would cover the curves.
        aside = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)} if len(lines) > _MOST_NAMES_INSIDE else {}
        axes.legend(frameon=False, labelcolor=_INK, fontsize=9, **aside)
        return _drawn(figure, name)


@dataclass(frozen=True)
class Point:
    """A figure with its interval; None where there is none."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def dot_chart(series: Mapping[str, Sequence[Point]], *, x_label: str, name: str) -> str:
    """Draw named figures with their intervals below each other, and return an SVG element.

    Args:
        series: By what the legend calls them; the first one's points give the rows, top to bottom.
        x_label: With its unit.
        name: Unique on the page.
    """
    rows = [point.name for point in next(iter(series.values()))]
    with _style(name):
        # Long names would leave no room for the dots.
        wide = 4.8 + 0.07 * max(0, max(map(len, rows)) - _MOST_LETTERS)
        figure = MatplotlibFigure(figsize=(wide, max(2.4, 1.1 + 0.3 * len(rows))), layout="constrained")
        axes = figure.add_subplot()
        for index, (label, points) in enumerate(series.items()):
            shift = 0.22 * (index - (len(series) - 1) / 2)
            heights = [rows.index(point.name) + shift for point in points]
            colour = COLOURS[SERIES[index % len(SERIES)]]
            for height, point in zip(heights, points, strict=True):
                if point.low is not None and point.high is not None:
                    axes.plot([point.low, point.high], [height, height], color=colour, linewidth=1.4)
            values = [point.value for point in points]
            axes.plot(values, heights, _MARKERS[index % len(_MARKERS)], color=colour, label=label, markersize=5)
        axes.set_yticks(range(len(rows)), rows)
        axes.invert_yaxis()
        _dress(axes, x_label, "")
        if len(series) > 1:
            # Above the plot: with few rows there is no free space inside.
            axes.legend(
                frameon=False, labelcolor=_INK, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2
            )
        return _drawn(figure, name)


def histogram(values: Sequence[float], *, x_label: str, y_label: str, name: str, bins: int = 20) -> str:
    """Draw how often values occur, and return an SVG element.

    Args:
        values: At least one.
        x_label: With its unit.
        y_label: What is counted.
        name: Unique on the page.
        bins: Where there are more values than that.
    """
    distinct = sorted(set(values))
    with _style(name):
        figure = MatplotlibFigure(figsize=(4.8, 3.0), layout="constrained")
        axes = figure.add_subplot()
        if len(distinct) <= bins:
            gap = min((b - a for a, b in itertools.pairwise(distinct)), default=0.02)
            counts = [sum(value == one for value in values) for one in distinct]
            axes.bar(distinct, counts, width=0.8 * gap, color=COLOURS["retain"])
        else:
            axes.hist(values, bins=bins, color=COLOURS["retain"], edgecolor=_INK, linewidth=0.4)
        _dress(axes, x_label, y_label)
        return _drawn(figure, name)


def heat_map(
    values: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    x_label: str,
    y_label: str,
    digits: int = 2,
    name: str,
) -> str:
    """Draw a matrix as shades with its numbers in the cells, and return an SVG element.

    Args:
        values: Row by row; None stays empty.
        rows: Their names, top to bottom.
        columns: Their names.
        x_label: What the columns are.
        y_label: What the rows are.
        digits: After the point.
        name: Unique on the page.
    """
    most = max((value for row in values for value in row if value is not None), default=1.0) or 1.0
    with _style(name):
        side = 0.36 * max(len(rows), len(columns))
        figure = MatplotlibFigure(figsize=(max(4.8, side + 1.6), max(3.0, side + 1.0)), layout="constrained")
        axes = figure.add_subplot()
        shades = [[float("nan") if value is None else value for value in row] for row in values]
        drawn = axes.pcolormesh(shades, cmap="cividis", vmin=0, vmax=most, edgecolors="none")
        axes.set_xticks([column + 0.5 for column in range(len(columns))], columns, rotation=45, ha="right")
        axes.set_yticks([row + 0.5 for row in range(len(rows))], rows)
        axes.invert_yaxis()
        axes.set_aspect("equal")
        if max(len(rows), len(columns)) <= _MOST_CELLS:
            for y, row in enumerate(values):
                for x, value in enumerate(row):
                    if value is not None:
                        shade = "black" if value > 0.6 * most else "white"
                        text = f"{value:.{digits}f}"
                        axes.text(x + 0.5, y + 0.5, text, color=shade, ha="center", va="center", fontsize=7)
        else:
            bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
            bar.ax.tick_params(colors=_INK)
            bar.outline.set_edgecolor(_INK)
        _dress(axes, x_label, y_label)
        axes.grid(visible=False)
        return _drawn(figure, name)


def scatter_panels(
    panels: Mapping[str, Sequence[tuple[float, float]]], groups: Sequence[int], names: Sequence[str], *, name: str
) -> str:
    """Draw maps of the same things side by side, each thing with the colour and the mark of its group.

    Args:
        panels: Places by what a map is called.
        groups: Of each thing.
        names: Of the groups.
        name: Unique on the page.
    """
    with _style(name):
        figure = MatplotlibFigure(figsize=(3.2 * len(panels) + 1.4, 3.3), layout="constrained")
        every = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, points) in zip(every, panels.items(), strict=True):
            for number, label in enumerate(names):
                mine = [point for point, group in zip(points, groups, strict=True) if group == number]
                # Twice as many groups as colours differ by their marks.
                mark = _MARKERS[number // len(SERIES) % len(_MARKERS)]
                colour = COLOURS[SERIES[number % len(SERIES)]]
                x, y = [one for one, _ in mine], [other for _, other in mine]
                axes.plot(x, y, mark, color=colour, markersize=2.6, alpha=0.8, label=label, markeredgewidth=0)
            axes.set_title(title, color=_INK, fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color(_INK)
        every[-1].legend(
            frameon=False, labelcolor=_INK, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=2
        )
        return _drawn(figure, name)


def _style(name: str) -> Any:
    return mpl.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": name,
            "font.family": "sans-serif",
            "font.size": 10,
            "text.parse_math": False,
        }
    )


def _dress(axes: Any, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.tick_params(colors=_INK)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    for spine in ("left", "bottom"):
        axes.spines[spine].set_color(_INK)
    axes.grid(visible=True, color=COLOURS["neutral"], alpha=0.25, linewidth=0.5)


def _drawn(figure: Any, name: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name)


def image_sheet(
    images: Sequence[str], titles: Sequence[str], columns: int = 8, legend: Sequence[tuple[str, str]] = ()
) -> str:
    """Return small images on a sheet, each with its title below, as an SVG element.

    Args:
        images: PNG files in base64.
        titles: One for each image; also read out by screen readers.
        columns: Images in a row.
        legend: What colours mean, below the images: a colour and a name each.
    """
    side, line = 72, 12
    rows = -(-len(images) // columns)
    parts = []
    for index, (colour, text) in enumerate(legend):
        x, y = index % columns * side, rows * (side + line) + index // columns * line
        parts.append(
            f'<rect x="{x + 4}" y="{y + 2}" width="7" height="7" fill="{colour}" stroke="currentColor" '
            f'stroke-width="0.3"/><text x="{x + 14}" y="{y + 8}" font-size="6">{escape(text)}</text>'
        )
    for index, (image, title) in enumerate(zip(images, titles, strict=True)):
        x, y = index % columns * side, index // columns * (side + line)
        text = escape(title)
        parts.append(
            f'<image x="{x + 4}" y="{y}" width="{side - 8}" height="{side - 8}" href="data:image/png;base64,{image}" '
            f'style="image-rendering: pixelated"><title>{text}</title></image>'
            f'<text x="{x + side / 2}" y="{y + side + 2}" font-size="4.5" text-anchor="middle">{text}</text>'
        )
    size = f"0 0 {columns * side} {rows * (side + line) - (-len(legend) // columns) * line}"
    return f'<svg role="img" xmlns="http://www.w3.org/2000/svg" viewBox="{size}">{"".join(parts)}</svg>'


def _inline(svg: str, name: str) -> str:
    """Strip what belongs to a file of its own, take the page's ink, and scale with the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "currentColor").replace(_INK.lower(), "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", '<svg role="img" preserveAspectRatio="xMidYMid meet" ', 1)
