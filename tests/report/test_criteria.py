"""The plot of the comparisons that a verdict rests on: where each lies between nothing and too much."""

import re

import pytest

from myosotis.evaluation.comparison import compared, fixed, unmeasured
from myosotis.evaluation.intervals import Interval
from myosotis.report import criteria
from myosotis.report.criteria import criteria_figure

FIGURE = Interval(0.5, 0.4, 0.6, 20, 8)


def comparison(name, mean, low, high, rule="at most", margin=0.2, against=FIGURE):
    return compared(name, FIGURE, against, Interval(mean, low, high, 20, 8), rule, margin=margin)


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: by answer, the figures with their bounds."""
    seen = {}

    def dot_chart(series, **options):
        seen.update({answer: [tuple(vars(point).values()) for point in points] for answer, points in series.items()})
        seen["rows"] = list(options["rows"])
        return "<svg></svg>"

    monkeypatch.setattr(criteria, "dot_chart", dot_chart)
    return seen


def test_a_share_of_one_is_what_is_allowed(drawn):
    rows = [
        comparison("a", 0.1, 0.0, 0.2),
        comparison("b", 0.1, -0.1, 0.3),
        comparison("c", -0.4, -0.5, -0.3, rule="at least"),
        comparison("d", -0.205, -0.22, -0.19, margin=0.0, against=fixed(1.15)),
        unmeasured("e", "nothing to compare with", "before", 20),
        comparison("f", 10.0, 9.0, 11.0),
    ]
    criteria_figure(rows, {"a": "first"})
    close = pytest.approx
    assert drawn["yes"] == [
        ("First", close(0.5), close(0), close(1)),
        ("D", close(0.822, abs=1e-3), close(0.809, abs=1e-3), close(0.835, abs=1e-3)),
    ]
    assert drawn["undecided"] == [("B", close(0.5), close(-0.5), close(1.5))]
    # Of what may fall, down is to the right as well; what is far away is drawn at the edge.
    assert drawn["no"] == [("C", close(2), close(1.5), close(2.5)), ("F", 3.0, 3.0, 3.0)]
    assert drawn["rows"] == ["First", "B", "C", "D", "F"]


def test_nothing_to_draw_is_not_drawn(drawn):
    assert criteria_figure([unmeasured("e", "nothing", "before", 20)], {}) == []
    assert criteria_figure([], {}) == []
    assert drawn == {}


def test_the_plot_is_drawn_with_its_limit():
    (figure,) = criteria_figure([comparison("a", 0.1, 0.0, 0.2), comparison("b", 0.1, -0.1, 0.3)], {})
    assert figure.wide
    assert "share of the allowed difference" in figure.svg
    assert len(re.findall(r"stroke-dasharray", figure.svg)) == 1
