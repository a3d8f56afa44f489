"""What the report of a sweep claims, on figures made by hand."""

import pytest

from myosotis.evaluation.intervals import Interval
from myosotis.pretraining.sweep.figures import sweep_differences, sweep_figures
from myosotis.pretraining.sweep.report import _table, _verdicts
from myosotis.pretraining.sweep.result import SweepResult

NOISE = (0.0, 0.01, -0.01)


def sweep(accuracies):
    """A result: ``accuracies`` by masker and ratio; seeds differ by the same noise, and a little more."""
    trained = {
        (masker, ratio, seed): {
            "linear": value + NOISE[seed] + 0.001 * seed * place,
            "seconds": 1.0,
            "failure": None,
            "masks": {"ratio": ratio},
        }
        for place, (masker, values) in enumerate(accuracies.items())
        for ratio, value in values.items()
        for seed in range(3)
    }
    maskers, ratios = list(accuracies), list(next(iter(accuracies.values())))
    level = Interval(0.4, 0.3, 0.5, 3, 3)
    return SweepResult.model_construct(
        ratios=ratios,
        seeds=3,
        measures=["linear"],
        maskers={name: sweep_figures(name, trained, ratios, ["linear"], 0.95) for name in maskers},
        differences=sweep_differences(trained, maskers, ratios, ["linear"], 0.95),
        untrained={"linear": level},
        untrained_failures=[],
        not_run={},
        repeated=0,
        test_images=9,
        pixels={"linear": level},
    )


def told(result):
    return {one.question: one.answer for one in _verdicts(result, 0.95)}


def test_clear_differences_are_named():
    result = sweep({"random": {0.5: 0.6, 0.75: 0.7}, "better": {0.5: 0.8, 0.75: 0.8}, "equal": {0.5: 0.6, 0.75: 0.7}})
    found = told(result)
    assert found["Which one depends least on the ratio?"].startswith("better: ")
    sure = found["How sure are we?"]
    assert "better is ahead of random by linear probe" in sure
    assert "better depends less on the ratio than random by linear probe" in sure
    assert "equal" not in sure
    assert (
        "behind" in told(sweep({"random": {0.5: 0.8, 0.75: 0.8}, "worse": {0.5: 0.6, 0.75: 0.6}}))["How sure are we?"]
    )


def test_no_difference_is_said():
    assert told(sweep({"random": {0.5: 0.6}, "equal": {0.5: 0.6}}))["How sure are we?"].endswith("no difference.")


@pytest.mark.parametrize(("ratios", "overall"), [((0.5,), ["Mean"]), ((0.5, 0.75), ["Mean", "Range"])])
def test_one_ratio_has_no_range(ratios, overall):
    result = sweep({name: dict.fromkeys(ratios, 0.6) for name in ("random", "other")})
    table = _table(result, 0.95)
    assert table.columns[1 + len(ratios) :] == overall
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    assert ("Which one depends least on the ratio?" in told(result)) == (len(ratios) > 1)
