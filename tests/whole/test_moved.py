"""The figures of a tiny job of each kind are those of before; see `moved.py`."""

import json

import pytest

# Another processor rounds otherwise; with other instructions of the same one no figure moved by 1e-4.
TOLERANCE = 1e-3


def test_no_figure_has_moved(tmp_path, moved):
    stored = {job: parts for job, parts in json.loads(moved.STORED.read_text()).items() if not job.endswith("seed 1")}
    results = moved.measured(tmp_path, seeds=(0,))
    lines = moved.differences(stored, results, relative=TOLERANCE, absolute=TOLERANCE, digests=False)
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
def test_what_has_moved_is_named(after, lines, moved):
    before = {"job": {"figures": {"a.0": 0.5, "b": True}, "digests": {"model": "1"}}}
    now = {"job": {"figures": after, "digests": {"model": "2"}}}
    assert moved.differences(before, now, relative=TOLERANCE, digests=False) == lines
    assert moved.differences(before, now, relative=TOLERANCE) == [*lines, "job: model was 1, is 2"]
    assert moved.differences(before, {}) == ["job: only before"]


def test_times_and_names_are_no_figures(moved):
    result = {"a": [0.5, None, "x"], "cost": {"steps": 3}, "seconds": {"train": 1.0}, "seed": 4, "c": {"d": True}}
    assert moved.figures(result) == {"a.0": 0.5, "c.d": True}
