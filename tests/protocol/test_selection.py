"""The choice of a trial."""

import pytest

from myosotis.protocol.selection import finished_trials, mean_scores, select, survivors


def test_the_choice_is_the_best_mean(results):
    found = results([[0.1, 0.9], [0.6, 0.6], [0.6, 0.6]])
    assert mean_scores(found, "final_accuracy") == pytest.approx({0: 0.5, 1: 0.6, 2: 0.6})
    chosen = select("er", [{"a": 0}, {"a": 1}, {"a": 2}], found, "final_accuracy")
    assert (chosen.trial, chosen.drawn, chosen.score) == (1, {"a": 1}, pytest.approx(0.6))
    cheap = select("er", [{}, {}, {}], found, "final_accuracy", "first_task")
    assert (cheap.trial, cheap.selector) == (0, "first_task")


def test_pruned_trials_are_not_chosen(results):
    assert survivors({0: 0.1, 1: 0.7, 2: 0.7, 3: 0.5, 4: 0.6}, 0.5) == [1, 2, 4]
    assert survivors({3: 0.1, 5: 0.2}, 0.01) == [5]
    found = results([[0.9], [0.6, 0.5], [0.4, 0.8]])
    assert finished_trials(found) == [1, 2]
    assert select("er", [{}, {}, {}], found, "final_accuracy").trial == 2
    assert select("er", [{}, {}, {}], found, "final_accuracy", "first_task").trial == 1
