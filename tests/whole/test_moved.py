"""The figures of a tiny job of each kind are those of before; see `moved.py`."""

import json

import pytest
from moved import STORED, differences, figures, measured

# Another processor rounds otherwise; with other instructions of the same one no figure moved by 1e-4.
TOLERANCE = 1e-3


def test_no_figure_has_moved(tmp_path):
    stored = {job: parts for job, parts in json.loads(STORED.read_text()).items() if not job.endswith("seed 1")}
    results = measured(tmp_path, seeds=(0,))
    lines = differences(stored, results, relative=TOLERANCE, absolute=TOLERANCE, digests=False)
    assert not lines, "\n".join(lines[:20])


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        ({"a.0": 0.5, "b": True}, []),
        ({"a.0": 0.5005, "b": True}, []),
        ({"a.0": 0.502, "b": True}, ["job: a.0 was 0.5, is 0.502"]),
        ({"a.0": float("nan"), "b": True}, ["job: a.0 was 0.5, is nan"]),
        ({"a.0": 0.5, "b": False}, ["job: b was True, is False"]),
        ({"b": True}, ["job: a.0 only before"]),
    ],
)
def test_what_has_moved_is_named(after, lines):
    before = {"job": {"figures": {"a.0": 0.5, "b": True}, "digests": {"model": "1"}}}
    now = {"job": {"figures": after, "digests": {"model": "2"}}}
    assert differences(before, now, relative=TOLERANCE, digests=False) == lines
    assert differences(before, now, relative=TOLERANCE) == [*lines, "job: model was 1, is 2"]
    assert differences(before, {}) == ["job: only before"]


def test_times_and_names_are_no_figures():
    result = {"a": [0.5, None, "x"], "cost": {"steps": 3}, "seconds": {"train": 1.0}, "seed": 4, "c": {"d": True}}
    assert figures(result) == {"a.0": 0.5, "c.d": True}
