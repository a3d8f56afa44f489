"""Figures: what is drawn, and what is said in words."""

import re
import warnings

import pytest

from myosotis.report.figures import Line, Point, curves, dot_chart, heat_map, line_chart, scatter_panels

LONG = "animals-small training.epochs 15, model.options.widths [16, 32, 64], model.options.blocks [1, 1, 1], stem 2"

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_long_names_neither_collapse_axes_nor_leave_the_figure(count):
    names = [f"{LONG} {number}" for number in range(count)]
    lines = [Line(name, [1, 2, 3], [0.1, 0.2, 0.3]) for name in names]
    points = {name: [Point(name, 0.5, 0.4, 0.6) for name in names] for name in names[:2]}
    panels = {"before": [(0.0, 1.0)] * count, "after": [(1.0, 0.0)] * count}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [
            line_chart(lines, x_label="x", y_label="y", name="a"),
            dot_chart(points, x_label="x", name="b"),
            scatter_panels(panels, list(range(count)), names, name="c"),
        ]
    for svg in drawn:
        width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
        axes = re.search(r'id="[abc]-patch_2">\s*<path d="M ([\d.]+) ([\d.]+) \s*L ([\d.]+)', svg)
        left, bottom, right = map(float, axes.groups())
        assert right - left > 0.25 * width
        assert bottom < height


def test_a_share_is_drawn_from_zero_to_one():
    svg = line_chart([Line("a", [1, 2], [0.71, 0.75])], x_label="x", y_label="accuracy", share=True, name="a")
    assert {"0.0", "1.0"} <= set(re.findall(r">([\d.]+)</text>", svg))


def test_one_point_is_said_in_words():
    figure = curves([Line("forget", [1], [0.25])], "Terms of the loss.", x_label="step", y_label="loss", name="a")
    assert figure.svg == ""
    assert figure.caption == "Terms of the loss. There is one point only, so no curve is drawn: forget 0.25."


def test_many_steps_are_means_over_windows():
    lines = [Line("forget", list(range(1, 601)), [0.0, 1.0] * 300)]
    figure = curves(lines, "Terms of the loss.", x_label="step", y_label="loss", name="a")
    assert "Each point after the first is the mean of 10 values." in figure.caption
    assert figure.svg.count("<use") < 80


def test_few_steps_have_whole_ticks():
    svg = line_chart([Line("a", [0, 1], [0.5, 0.6])], x_label="epoch", y_label="y", share=True, name="a")
    ticks = re.findall(r"<text[^>]*>([^<]+)</text>", svg.split("xtick", 1)[1].split("ytick", 1)[0])
    assert ticks[:2] == ["0", "1"]


def test_numbers_on_a_heat_map_keep_their_colour_on_a_dark_page():
    svg = heat_map([[0.0, 1.0]], ["a"], ["b", "c"], x_label="x", y_label="y", name="dark")
    styles = dict(re.findall(r'<text style="([^"]*)"[^>]*>([01]\.00)</text>', svg))
    fills = {number: re.search(r"fill: (#\w+)", style)[1] for style, number in styles.items()}
    assert fills == {"0.00": "#ffffff", "1.00": "#14181d"}


@pytest.mark.filterwarnings("error")
def test_names_of_any_script_stay_text():
    names = ["고양이", "নমস্কার", "😀"]
    svg = heat_map([[0.0, 0.5, 1.0]] * 3, names, names, x_label="x", y_label="y", name="scripts")
    assert all(svg.count(f">{name}</text>") == 2 for name in names)


@pytest.mark.parametrize("count", [13, 40, 41, 200])
def test_a_heat_map_of_any_size_is_small_and_names_its_rows(count):
    names = [f"task {number}" for number in range(count)]
    values = [[0.5 if column <= row else None for column in range(count)] for row in range(count)]
    drawn = heat_map(values, names, names, x_label="on", y_label="after", name=f"heat-{count}")
    assert len(drawn) < 400_000
    assert "task 0" in drawn
    assert (names[-1] in drawn) == (count < 200)
    assert drawn.count("task ") < 2 * 3 * 40
    assert "http" not in drawn.replace("http://www.w3.org", "")
