"""The verdict of a learning job in words."""

import pytest

from myosotis.report.learning import kept_verdict, learnt_verdict


def figure(holds, margin=0.0):
    return {
        "name": "final accuracy on all classes",
        "value": {"mean": 0.2, "low": 0.1, "high": 0.3, "count": 60, "units": 60},
        "against": {"mean": 0.25, "low": None, "high": None, "count": 0, "units": 0},
        "against_of": "always predicting the most frequent class",
        "difference": {"mean": -0.05, "low": -0.15, "high": 0.05, "count": 60, "units": 60},
        "margin": margin,
        "holds": holds,
    }


def verdict(learnt, kept=None, kept_basis=()):
    return {"learnt": learnt, "kept": kept, "learnt_basis": [figure(learnt)], "kept_basis": list(kept_basis)}


def test_a_run_at_chance_is_told_that_it_has_not_learnt():
    shown = learnt_verdict(verdict(False))
    assert shown.mark == "no"
    assert "0.200 (0.100 to 0.300)" in shown.answer
    assert "always predicting the most frequent class: 0.250" in shown.answer
    assert "This has not learnt" in shown.answer
    assert "has not learnt" not in learnt_verdict(verdict(True)).answer


@pytest.mark.parametrize("learnt", [False, None])
def test_nothing_is_kept_that_was_not_learnt(learnt):
    shown = kept_verdict(verdict(learnt, None, [figure(True, 0.05)]))
    assert shown.mark == "undecided"
    assert shown.answer.startswith("Not answered: what was not shown to be learnt cannot be kept.")


def test_what_counts_as_kept_is_said():
    assert "A loss of up to 0.05 counts as kept." in kept_verdict(verdict(True, True, [figure(True, 0.05)])).answer
    assert (
        "Inconclusive: the interval crosses the threshold"
        in kept_verdict(verdict(True, None, [figure(None, 0.05)])).answer
    )


def test_without_a_control_there_is_no_mark():
    assert learnt_verdict(None, "More.").mark == ""
    assert kept_verdict(None, "More.").mark == ""
