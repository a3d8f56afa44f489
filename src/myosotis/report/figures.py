"""Plots as inline SVG that fit light and dark pages, grey printers and colour-blind eyes."""

import io
import itertools
import math
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import MaxNLocator

from myosotis.report.document import Figure

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

_MAX_POINTS = 60  # of a curve; with more, each is the mean of a window
_DASHES = ("solid", "dashed", "dashdot", "dotted")
_MARKERS = ("o", "s", "^", "D")
_MAX_MARKERS = 20
_LETTERS_PER_INCH = 14  # in a legend
_WIDTH = 4.8  # of a plot, in inches
_WIDE = 6.2
_ROW_LETTERS = 24
_WIDE_ROW_LETTERS = 34
_CELL_LETTERS = 18
_MAX_REM = 10  # of width for each column of a sheet
_MAX_CELLS = 12  # in a row of a heat map, for numbers to be legible
_MAX_DRAWN = 40  # in a row of a heat map, each as a shape with its name; more are an image
_DARK = "#14181d"  # on a light cell of a page of any colours; plain black is left out of the SVG, for the page to fill
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


def gaps(values: Sequence[float | None]) -> list[float]:
    """Return values with NaN, where a curve is interrupted, in place of those that are missing."""
    return [math.nan if value is None else value for value in values]


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, tuple[float, str]] | None = None,
    best_is_low: bool = False,
    share: bool = False,
    name: str,
) -> str:
    """Draw curves, each with its own colour, dash and marker, and return an SVG element.

    Args:
        lines: The curves.
        x_label: With its unit; steps or epochs, so its ticks are whole numbers.
        y_label: With its unit.
        levels: Horizontal lines by name: their height and the key of their colour.
        best_is_low: Let y fall from bottom to top, as for ranks.
        share: Show all of 0 to 1, as for an accuracy.
        name: Unique on the page; keeps the inner names of several figures apart.
    """
    with _style(name):
        figure, axes = _plot([*(line.name for line in lines), *(levels or {})], height=2.7)
        for index, line in enumerate(lines):
            axes.plot(
                line.x,
                line.y,
                label=line.name,
                color=COLOURS[line.colour],
                linestyle=_DASHES[index % len(_DASHES)],
                marker=_MARKERS[index % len(_MARKERS)],
                markevery=max(1, len(line.x) // _MAX_MARKERS),
                markersize=4,
                linewidth=1.6,
            )
            if line.low is not None and line.high is not None:
                axes.fill_between(line.x, line.low, line.high, color=COLOURS[line.colour], alpha=0.15, linewidth=0)
        for index, (label, (height, colour)) in enumerate((levels or {}).items()):
            axes.axhline(height, label=label, color=COLOURS[colour], linestyle=_DASHES[(index + 1) % 4], linewidth=1)
        every = [x for line in lines for x in line.x]
        whole = all(float(x).is_integer() for x in every) or max(every) - min(every) > 2
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=whole))
        _dress(axes, x_label, y_label)
        if best_is_low:
            axes.invert_yaxis()
            axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if share:
            axes.set_ylim(-0.03, 1.03)
        _legend(figure, axes)
        return _drawn(figure, name)


def curves(
    lines: Sequence[Line],
    caption: str,
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, tuple[float, str]] | None = None,
    share: bool = False,
    name: str,
) -> Figure:
    """Return curves as a figure; of long ones means over windows, and of single points a sentence.

    Args:
        lines: The curves, at least one; of more than 60 points each is the mean of a window.
        caption: What to see.
        x_label: With its unit, e.g. ``"optimisation step"``.
        y_label: With its unit.
        levels: Horizontal lines, as in :func:`line_chart`.
        share: Show all of 0 to 1.
        name: Unique on the page.
    """
    if all(len(line.x) < 2 for line in lines):
        values = ", ".join(f"{line.name} {y:.3g}" for line in lines for y in line.y)
        return Figure("", f"{caption} There is one point only, so no curve is drawn: {values}.")
    window = max(-(-len(line.x) // _MAX_POINTS) for line in lines)
    if window > 1:
        lines = [_windowed(line, window) for line in lines]
        caption += f" Each point after the first is the mean of {window} values."
    svg = line_chart(lines, x_label=x_label, y_label=y_label, levels=levels, share=share, name=name)
    return Figure(svg, caption)


def _windowed(line: Line, window: int) -> Line:
    """The means of a curve over windows, each at the end of its window; its start stays as it is."""
    parts = [slice(0, 1), *(slice(begin, begin + window) for begin in range(1, len(line.x), window))]
    means = [sum(line.y[part]) / len(line.y[part]) for part in parts]
    return replace(line, x=[line.x[part][-1] for part in parts], y=means)


@dataclass(frozen=True)
class Point:
    """A figure with its interval; None where there is none."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


def dot_chart(
    series: Mapping[str, Sequence[Point]],
    *,
    x_label: str,
    name: str,
    rows: Sequence[str] = (),
    limits: Sequence[float] = (),
    wide: bool = False,
) -> str:
    """Draw named figures with their intervals below each other, and return an SVG element.

    Args:
        series: By what the legend calls them.
        x_label: With its unit.
        name: Unique on the page.
        rows: Names of the points, top to bottom; those of the first series unless given.
        limits: Values at which a vertical line is drawn.
        wide: Whether it is to take the width of the page, with longer names.
    """
    rows = rows or [point.name for point in next(iter(series.values()))]
    labels = [_wrapped(row, _WIDE_ROW_LETTERS if wide else _ROW_LETTERS) for row in rows]
    with _style(name):
        height = 0.9 + sum(0.14 + 0.17 * (1 + text.count("\n")) for text in labels)
        figure, axes = _plot(list(series), height=height, width=_WIDE if wide else _WIDTH)
        for limit in limits:
            axes.axvline(limit, color=_INK, linewidth=1, linestyle="dashed")
        every = [point for points in series.values() for point in points]
        shared = len({point.name for point in every}) < len(every)  # else no row has to make way for another
        for index, (label, points) in enumerate(series.items()):
            shift = 0.22 * (index - (len(series) - 1) / 2) if shared else 0.0
            heights = [rows.index(point.name) + shift for point in points]
            colour = COLOURS[SERIES[index % len(SERIES)]]
            for height, point in zip(heights, points, strict=True):
                if point.low is not None and point.high is not None:
                    axes.plot([point.low, point.high], [height, height], color=colour, linewidth=1.4)
            values = [point.value for point in points]
            axes.plot(values, heights, _MARKERS[index % len(_MARKERS)], color=colour, label=label, markersize=5)
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        ends = [end for point in every for end in (point.low, point.high) if end is not None]
        if not limits and all(0 <= point.value <= 1 for point in every) and any(not 0 <= end <= 1 for end in ends):
            axes.set_xlim(-0.03, 1.03)  # an interval of few runs leaves what a share can be
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        _dress(axes, x_label, "")
        if len(series) > 1:
            _legend(figure, axes)
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

    Of many rows or columns not all are named, and the shades are one image, so that a page stays small.

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
    rows, columns = ([_shortened(text) for text in names] for names in (rows, columns))
    with _style(name):
        longest = max(len(rows), len(columns))
        side = 0.36 * min(longest, _MAX_DRAWN)
        figure = MatplotlibFigure(figsize=(max(4.8, side + 1.6), max(3.0, side + 1.0)), layout="constrained")
        axes = figure.add_subplot()
        shades = [[float("nan") if value is None else value for value in row] for row in values]
        if longest <= _MAX_DRAWN:
            drawn: Any = axes.pcolormesh(shades, cmap="cividis", vmin=0, vmax=most, edgecolors="none")
            axes.invert_yaxis()
        else:
            extent = (0, len(columns), len(rows), 0)
            drawn = axes.imshow(shades, cmap="cividis", vmin=0, vmax=most, interpolation="none", extent=extent)
        step = -(-longest // _MAX_DRAWN)
        axes.set_xticks(
            [column + 0.5 for column in range(0, len(columns), step)], columns[::step], rotation=45, ha="right"
        )
        axes.set_yticks([row + 0.5 for row in range(0, len(rows), step)], rows[::step])
        axes.set_aspect("equal")
        if longest <= _MAX_CELLS:
            for y, row in enumerate(values):
                for x, value in enumerate(row):
                    if value is not None:
                        shade = _DARK if value > 0.6 * most else "white"
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
        panels: Positions by the title of a map; at least two.
        groups: Of each thing.
        names: Of the groups.
        name: Unique on the page.
    """
    with _style(name):
        figure, every = _plot(names, height=3.1, width=3.4 * len(panels), panels=len(panels))
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
        _legend(figure, every[-1], markerscale=2)
        return _drawn(figure, name)


def _wrapped(text: str, letters: int) -> str:
    """A name on several lines, each of at most so many letters."""
    return "\n".join(textwrap.wrap(text, letters, break_long_words=True)) or text


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL_LETTERS else f"{text[: _CELL_LETTERS - 1]}…"


def _legend_names(names: Sequence[str], width: float) -> tuple[list[str], int, int]:
    """Names as a legend of a width in inches shows them, its number of columns and of lines."""
    letters = int(_LETTERS_PER_INCH * width)
    wrapped = [_wrapped(name, letters - 7) for name in names]  # the mark takes the rest
    longest = max(len(line) for name in wrapped for line in name.split("\n")) + 7
    columns = max(1, min(len(names), letters // longest))
    lines = sum(1 + name.count("\n") for name in wrapped) if columns == 1 else -(-len(names) // columns)
    return wrapped, columns, lines


def _plot(names: Sequence[str], height: float, width: float = _WIDTH, panels: int = 1) -> tuple[Any, Any]:
    """A figure that is as high as axes and legend need, and its axes.

    Args:
        names: Names in the legend.
        height: Height of the axes with their labels, in inches.
        width: Width of the figure, in inches.
        panels: Axes side by side.
    """
    lines = _legend_names(names, width)[2]
    figure = MatplotlibFigure(figsize=(width, height + 0.18 * lines + 0.15), layout="constrained")
    return figure, figure.subplots(1, panels)


def _legend(figure: Any, axes: Any, **options: Any) -> None:
    """Draw the legend below the axes, where it neither covers the curves nor pushes them away."""
    handles, names = axes.get_legend_handles_labels()
    wrapped, columns, _ = _legend_names(names, figure.get_figwidth())
    options |= {"frameon": False, "labelcolor": _INK, "fontsize": 9}
    figure.legend(handles, wrapped, loc="outside lower center", ncols=columns, **options)


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
    with warnings.catch_warnings():
        # Text stays text, which the browser sets in a font that has the script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
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
    # With few columns the images and their titles would be blown up to the width of the page.
    style = f"max-width: {columns * _MAX_REM}rem"
    return f'<svg role="img" xmlns="http://www.w3.org/2000/svg" viewBox="{size}" style="{style}">{"".join(parts)}</svg>'


def picture(image: str, width: int, height: int) -> str:
    """Return one image as an SVG element.

    Args:
        image: PNG file in base64.
        width: Its width in pixels.
        height: Its height in pixels.
    """
    return (
        f'<svg role="img" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"><image width="{width}" '
        f'height="{height}" href="data:image/png;base64,{image}" style="image-rendering: pixelated"></image></svg>'
    )


def _inline(svg: str, name: str) -> str:
    """Strip what belongs to a file of its own, take the page's ink, and scale with the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = svg.replace(_INK, "currentColor").replace(_INK.lower(), "currentColor")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("<image ", '<image style="image-rendering: pixelated" ')
    return svg.replace("<svg ", '<svg role="img" preserveAspectRatio="xMidYMid meet" ', 1)
