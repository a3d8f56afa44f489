"""Figures beside their controls: yes, no and undecided."""

import pytest
from hypothesis import given, strategies as st

from myosotis.evaluation.comparison import answer
from myosotis.evaluation.learning import (
    LearningVerdict,
    Share,
    above_level,
    above_share,
    learning_verdict,
    not_below,
)

NAMES = {"measure": "accuracy", "against_of": "chance", "confidence": 0.95}


@given(st.integers(5, 400), st.data())
def test_at_or_below_chance_is_never_called_learnt(trials, data):
    level = data.draw(st.floats(0.05, 0.9))
    hits = data.draw(st.integers(0, int(level * trials)))
    assert above_level(Share(hits, trials), level, **NAMES).holds is not True
    control = data.draw(st.integers(hits, trials))
    assert above_share(Share(hits, trials), Share(control, trials), **NAMES).holds is not True


@pytest.mark.parametrize(
    ("hits", "trials", "level", "holds"),
    [
        (90, 100, 0.5, True),
        (55, 100, 0.5, False),
        (3, 3, 0.1, None),
        (6, 6, 0.9, None),
    ],
)
def test_chance_is_excluded_by_the_interval(hits, trials, level, holds):
    assert above_level(Share(hits, trials), level, **NAMES).holds is holds


@pytest.mark.parametrize(("now", "holds"), [(880, True), (600, False), (850, None)])
def test_kept_needs_an_interval_above_the_margin(now, holds):
    assert not_below(Share(now, 1000), Share(880, 1000), **NAMES).holds is holds


def test_what_was_not_learnt_is_not_kept():
    yes = above_level(Share(90, 100), 0.5, **NAMES)
    no = above_level(Share(50, 100), 0.5, **NAMES)
    kept = not_below(Share(900, 1000), Share(900, 1000), **NAMES)
    assert learning_verdict([yes], [kept]).kept is True
    assert learning_verdict([no], [kept]).kept is None
    assert learning_verdict([yes, no], []).learnt is False
    assert answer([yes, above_level(Share(2, 2), 0.5, **NAMES)]) is None
    found = learning_verdict([yes], [kept])
    assert LearningVerdict.model_validate_json(found.model_dump_json()) == found
    assert set(found.model_dump(mode="json")["learnt_basis"][0]) >= {"name", "value", "against", "difference", "holds"}
