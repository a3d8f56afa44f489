"""Comparisons: three outcomes, their margins, and what cannot be compared."""

import json

import pytest

from myosotis.evaluation.comparison import (
    MIN_UNITS,
    Comparison,
    SubjectsHurt,
    all_of,
    answer,
    compared,
    fixed,
    unmeasured,
)
from myosotis.evaluation.intervals import Interval


def interval(mean, low=None, high=None, units=10):
    return Interval(mean, low, high, 5 * units, units)


def comparison(low, high, rule="at most", units=10, **options):
    difference = interval((low + high) / 2, low, high, units)
    return compared("accuracy", interval(0.5), interval(0.4), difference, rule, **options)


@pytest.mark.parametrize(
    ("low", "high", "holds", "beyond"),
    [
        (-0.05, 0.05, True, False),
        (-0.05, 0.1, True, False),  # at the margin
        (-0.05, 0.11, None, False),
        (0.05, 0.3, None, False),
        (0.1, 0.3, None, False),  # the lower end is not above the margin
        (0.11, 0.3, False, False),
        (-0.3, 0.05, True, None),
        (-0.3, -0.11, True, True),
        (-0.3, 0.3, None, None),
    ],
)
def test_an_answer_is_given_where_the_interval_allows_one(low, high, holds, beyond):
    row = comparison(low, high, margin=0.1)
    assert (row.holds, row.beyond) == (holds, beyond)
    mirrored = comparison(-high, -low, "at least", margin=0.1)
    assert (mirrored.holds, mirrored.beyond) == (holds, beyond)


def test_ties_within_rounding_are_met():
    assert comparison(-0.2, 3e-8).holds is True
    assert comparison(-0.2, 1e-3).holds is None


def test_few_units_and_one_unit_decide_nothing():
    assert comparison(-0.9, -0.8, units=MIN_UNITS).holds is True
    assert comparison(-0.9, -0.8, units=MIN_UNITS - 1).holds is None
    lone = compared("accuracy", interval(0.5), fixed(0.4), interval(0.1, units=1), "at most")
    assert (lone.holds, lone.beyond) == (None, None)


def test_a_fixed_level_has_no_other_side():
    row = compared("perplexity", interval(1.0), fixed(1.15), interval(-0.15, -0.2, -0.1), "at most")
    assert (row.holds, row.beyond) == (True, None)


@pytest.mark.parametrize(
    ("p_value", "mean", "high", "units", "holds"),
    [
        (0.01, 0.4, 0.6, 4, True),
        (0.06, 0.4, 0.6, 4, None),
        (0.5, 0.0, 0.05, 20, False),  # shown to be less than the margin
        (0.5, 0.0, 0.05, 3, None),
        (0.01, 0.0, 0.2, 20, None),  # ranks differ, means do not
    ],
)
def test_the_positive_control(p_value, mean, high, units, holds):
    difference = interval(mean, mean - 0.2, high, units)
    row = compared("odds", interval(0.9), interval(0.5), difference, "above", margin=0.1)
    row = row.model_copy(update={"p_value": p_value, "smallest_p_value": 0.001})
    assert row.holds is holds
    assert row.could_show
    assert not row.model_copy(update={"smallest_p_value": 0.1}).could_show


def test_a_file_cannot_say_what_the_answer_is():
    row = comparison(0.2, 0.4, margin=0.1)
    stored = json.loads(json.dumps(row.model_dump(mode="json"), allow_nan=False))
    assert stored["holds"] is False
    assert Comparison.model_validate(stored | {"holds": True, "beyond": True}) == row


def test_what_cannot_be_compared_is_listed_and_neither_holds_nor_fails():
    missing = unmeasured("el", "no record is long enough", "unseen records", 8)
    assert (missing.holds, missing.beyond, missing.total) == (None, None, 8)
    assert json.loads(json.dumps(missing.model_dump(mode="json")))["value"] is None
    yes, no, open_row = comparison(-0.2, -0.1), comparison(0.1, 0.2), comparison(-0.1, 0.1)
    assert [answer(rows) for rows in ([missing], [missing, yes], [missing, yes, no])] == [None, True, False]
    assert [answer(rows) for rows in ([yes, open_row], [no, open_row], [])] == [None, False, None]
    assert all_of([]) is None


@pytest.mark.parametrize(
    ("hurt", "subjects", "holds"), [(0, 18, None), (0, 19, True), (1, 20, None), (2, 100, True), (14, 20, False)]
)
def test_how_many_may_be_hurt_is_bounded_exactly(hurt, subjects, holds):
    found = SubjectsHurt.among(hurt, subjects, 0.1, 0.15, 0.95)
    assert found.holds is holds
    assert found.at_least <= hurt / subjects <= found.at_most
    if not hurt:
        assert (1 - found.at_most) ** subjects == pytest.approx(0.05)
