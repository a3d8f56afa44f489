"""Plots as inline SVG that fit light and dark pages, grey printers and colour-blind eyes."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
}
"""The same colour for the same thing in every report (Okabe and Ito's palette)."""

_DASHES = ("solid", "dashed", "dashdot", "dotted")
_MARKERS = ("o", "s", "^", "D")
_MOST_MARKERS = 20
_INK = "#123456"  # stands for the page's own text colour until the SVG is finished


@dataclass(frozen=True)
class Line:
    """One curve: its name, points, and the key of its colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str = "neutral"


def line_chart(
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    levels: Mapping[str, tuple[float, str]] | None = None,
    name: str,
) -> str:
    """Draw curves, each with its own colour, dash and marker, and return an SVG element.

    Args:
        lines: The curves.
        x_label: With its unit; steps or epochs, so its ticks are whole numbers.
        y_label: With its unit.
        levels: Horizontal lines by name: their height and the key of their colour.
        name: Unique on the page; keeps the inner names of several figures apart.
    """
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 10}):
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
        for index, (label, (height, colour)) in enumerate((levels or {}).items()):
            axes.axhline(height, label=label, color=COLOURS[colour], linestyle=_DASHES[(index + 1) % 4], linewidth=1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes.set_xlabel(x_label, color=_INK)
        axes.set_ylabel(y_label, color=_INK)
        axes.tick_params(colors=_INK)
        for spine in ("top", "right"):
            axes.spines[spine].set_visible(False)
        for spine in ("left", "bottom"):
            axes.spines[spine].set_color(_INK)
        axes.grid(visible=True, color=COLOURS["neutral"], alpha=0.25, linewidth=0.5)
        axes.legend(frameon=False, labelcolor=_INK, fontsize=9)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(stream.getvalue(), name)


def image_sheet(images: Sequence[str], titles: Sequence[str], columns: int = 8) -> str:
    """Return small images on a sheet, each with its title below, as an SVG element.

    Args:
        images: PNG files in base64.
        titles: One for each image; also read out by screen readers.
        columns: Images in a row.
    """
    side, line = 72, 12
    rows = -(-len(images) // columns)
    parts = []
    for place, (image, title) in enumerate(zip(images, titles, strict=True)):
        x, y = place % columns * side, place // columns * (side + line)
        text = escape(title)
        parts.append(
            f'<image x="{x + 4}" y="{y}" width="{side - 8}" height="{side - 8}" href="data:image/png;base64,{image}" '
            f'style="image-rendering: pixelated"><title>{text}</title></image>'
            f'<text x="{x + side / 2}" y="{y + side + 2}" font-size="4.5" text-anchor="middle">{text}</text>'
        )
    size = f"0 0 {columns * side} {rows * (side + line)}"
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
