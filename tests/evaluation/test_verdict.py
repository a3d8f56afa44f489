"""Comparisons of a verdict, and its positive control."""

import json
import math

import pytest

from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.rank_test import RankTest
from myosotis.evaluation.verdict import Control, Criterion, all_hold, fixed


def interval(mean, low=None, high=None, units=10):
    return Interval(mean, low, high, 5 * units, units)


def criterion(value, threshold, sign="<=", low=None, high=None, units=10, **options):
    difference = None if low is None else interval(value - threshold, low, high, units)
    return Criterion("accuracy", interval(value, units=units), fixed(threshold), "unseen", sign, difference, **options)


@pytest.mark.parametrize(
    ("value", "threshold", "sign", "holds"),
    [
        (0.0, 0.0, "<=", True),
        (1 / 3 + 3e-8, 1 / 3, "<=", True),  # the mean of float32 thirds
        (0.34, 1 / 3, "<=", False),
        (0.8999999761581421, 0.9, ">=", True),
        (0.89, 0.9, ">=", False),
    ],
)
def test_ties_within_rounding_hold(value, threshold, sign, holds):
    assert criterion(value, threshold, sign).holds is holds


@pytest.mark.parametrize(
    ("low", "high", "holds", "decided"),
    [
        (-0.4, -0.1, True, True),
        (-0.4, 0.05, True, True),  # it may be a little above, less than the margin
        (-0.4, 0.15, True, False),
        (0.2, 0.5, False, True),
        (0.05, 0.5, False, False),
    ],
)
def test_a_comparison_is_decided_where_its_interval_leaves_one_answer(low, high, holds, decided):
    row = criterion(0.5 if holds else 0.8, 0.6, low=low, high=high, margin=0.1)
    assert row.holds is holds
    assert row.decided is decided
    mirrored = criterion(0.5 if holds else 0.2, 0.4, ">=", low=-high, high=-low, margin=0.1)
    assert mirrored.holds is holds
    assert mirrored.decided is decided


def test_fewer_than_five_subjects_decide_nothing():
    assert criterion(0.0, 0.9, low=-0.95, high=-0.8, units=5).decided
    assert not criterion(0.0, 0.9, low=-0.95, high=-0.8, units=4).decided
    assert not criterion(0.0, 0.9).decided


def test_what_cannot_be_compared_is_told_and_neither_holds_nor_fails():
    row = Criterion("el", interval(math.nan, units=0), fixed(math.nan), "unseen", "<=", total=8, incomparable="short")
    assert row.holds is None
    assert not row.decided
    content = json.loads(json.dumps(row.as_json(), allow_nan=False))
    assert (content["value"], content["incomparable"], content["total"]) == (None, "short", 8)
    assert all_hold([row]) is None
    assert all_hold([row, criterion(0.1, 0.2)]) is True
    assert all_hold([row, criterion(0.1, 0.2), criterion(0.3, 0.2)]) is False


@pytest.mark.parametrize(
    ("p_value", "mean", "high", "units", "known"),
    [
        (0.01, 0.4, 0.6, 4, True),
        (0.06, 0.4, 0.6, 4, None),
        (0.5, 0.0, 0.05, 20, False),  # shown to be less than the margin
        (0.5, 0.0, 0.05, 4, None),
        (0.01, 0.0, 0.2, 20, None),  # ranks differ, means do not
    ],
)
def test_the_positive_control(p_value, mean, high, units, known):
    control = Control(
        "fact_accuracy",
        interval(0.9),
        interval(0.5),
        "unseen records",
        interval(mean, -0.1, high, units),
        RankTest(p_value, 0.001, (units, units)),
        0.95,
        0.1,
    )
    assert control.known is known
    assert json.loads(json.dumps(control.as_json()))["known"] is known
