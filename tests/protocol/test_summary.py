"""From the results of units to what is reported."""

import numpy as np
import pytest
from scipy import stats

from myosotis.protocol.selection import select
from myosotis.protocol.summary import kendall, method_summary, phase_agreement, rank, sensitivity


def test_the_usual_way_is_never_worse_on_its_own_images(results):
    tuning = results([[0.5, 0.7], [0.2, 0.3]])
    conventional = results([[0.4, 0.4], [0.6, 0.8]])
    for found in (tuning, conventional):
        for one in found.values():
            one["cost"] = {"seconds": 1.0, "steps": 2, "images": 3}
    chosen = select("er", [{"a": 0}, {"a": 1}], tuning, "final_accuracy")
    runs = [conventional[0, 0], conventional[0, 1]]
    summary = method_summary(
        [{"a": 0}, {"a": 1}],
        tuning,
        {"stream": chosen, "first_task": chosen},
        {"stream": runs, "first_task": runs},
        conventional,
        "final_accuracy",
        0.95,
    )
    assert summary.selected.trial == 0
    assert summary.conventional.trial == 1
    assert summary.conventional.optimism == pytest.approx(0.3)
    assert summary.conventional.tau_of_trials == pytest.approx(-1)
    assert dict(summary.tuning_cost) == {"seconds": 4.0, "steps": 8, "images": 12, "runs": 4}
    assert summary.sensitivity["a"].spread == pytest.approx(0.35)


def test_ranks_and_agreement():
    assert rank({"a": 0.5, "b": 0.7, "c": 0.1}) == {"a": 2, "b": 1, "c": 3}
    assert kendall([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall([1], [1]) is None
    assert kendall([1, 1], [1, 2]) is None
    same = {"a": [0.1, 0.12], "b": [0.5, 0.52], "c": [0.9, 0.88]}
    found = phase_agreement(same, same, 0.95, 0)
    assert (found.tau, found.low, found.high) == pytest.approx((1, 1, 1))
    noisy = {"a": [0.1, 0.9], "b": [0.9, 0.1], "c": [0.5, 0.55]}
    wide = phase_agreement(noisy, same, 0.95, 0)
    assert wide.low < wide.high


def test_kendalls_tau_is_that_of_scipy_with_ties_too():
    draw = np.random.default_rng(0)
    for count in (2, 3, 12, 50):
        first, second = draw.integers(0, 6, (2, count)).tolist()
        expected = stats.kendalltau(first, second).statistic
        assert kendall(first, second) == (None if np.isnan(expected) else pytest.approx(expected))
    assert kendall([], []) is None
    assert kendall([1.0, float("nan")], [1.0, 2.0]) is None


def test_sensitivity_leaves_out_what_does_not_vary():
    draws = [{"a": 1, "b": 5}, {"a": 2, "b": 5}, {"a": 2, "b": 5, "c": 1}]
    found = sensitivity(draws, {0: 0.1, 1: 0.5, 2: 0.7})
    assert list(found) == ["a"]
    assert found["a"].means == pytest.approx({"1": 0.1, "2": 0.6})
    assert found["a"].fewest == 1
