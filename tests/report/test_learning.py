"""The verdict of a learning job in words."""

import pytest

from myosotis.evaluation.comparison import compared, fixed
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.learning import LearningVerdict
from myosotis.report.learning import kept_verdict, learnt_verdict

DIFFERENCES = {True: (0.05, 0.01, 0.15), False: (-0.05, -0.15, -0.01), None: (-0.05, -0.15, 0.05)}


def figure(holds, margin=0.0):
    row = compared(
        "final accuracy on all classes",
        Interval(0.2, 0.1, 0.3, 60, 60),
        fixed(0.25),
        Interval(*DIFFERENCES[holds], 60, 60),
        "at least",
        against_of="always predicting the most frequent class",
        margin=margin,
    )
    assert margin or row.holds is holds
    return row


def verdict(learnt, kept=None, kept_basis=()):
    return LearningVerdict(learnt=learnt, kept=kept, learnt_basis=[figure(learnt)], kept_basis=list(kept_basis))


def test_a_run_at_chance_is_told_that_it_has_not_learnt():
    shown = learnt_verdict(verdict(False))
    assert shown.mark == "no"
    assert "0.200 [0.100, 0.300]" in shown.answer
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
