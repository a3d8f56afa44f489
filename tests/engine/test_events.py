"""Events: what a crash leaves is read, what was damaged is named."""

import json

import pytest

from myosotis.engine import InputError
from myosotis.engine.events import EventLog


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "metrics.jsonl", tmp_path / "metrics.sha256")
    for step in range(4):
        log.append({"step": step, "loss": 0.5 + step})
    return log


@pytest.fixture
def again(tmp_path):
    """The log as a later session opens it."""
    return EventLog(tmp_path / "metrics.jsonl", tmp_path / "metrics.sha256")


def steps(log):
    return [event["step"] for event in log.read()]


def test_a_figure_that_changed_is_named(log, again, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text().replace("1.5", "1.7"))
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: damaged"):
        again.read()
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2: damaged"):
        again.append({"step": 4})
    assert len(path.read_text().splitlines()) == 4


@pytest.mark.parametrize("lines", [0, 2, None])
def test_events_that_are_missing_are_noticed(lines, log, again, tmp_path):
    path = tmp_path / "metrics.jsonl"
    if lines is None:
        path.unlink()
    else:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    with pytest.raises(InputError, match=f"line {(lines or 0) + 1}: damaged"):
        again.read()


def test_a_kill_between_a_line_and_its_digest_loses_nothing(log, again, tmp_path):
    digests = tmp_path / "metrics.sha256"
    digests.write_text(digests.read_text()[:-30])
    assert steps(again) == [0, 1, 2, 3]
    again.append({"step": 4})
    assert steps(again) == [0, 1, 2, 3, 4]
    assert len(digests.read_text().splitlines()) == 5


def test_a_kill_within_a_line_loses_that_line(log, again, tmp_path):
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert steps(again) == [0, 1, 2, 3]
    again.append({"step": 4})
    assert steps(again) == [0, 1, 2, 3, 4]


def test_events_of_earlier_versions_have_no_digests(log, again, tmp_path):
    (tmp_path / "metrics.sha256").unlink()
    assert steps(again) == [0, 1, 2, 3]


@pytest.mark.parametrize("killed_after", [0, 1, 2])
def test_a_kill_while_rewinding_leaves_what_can_be_read(killed_after, log, again, tmp_path, monkeypatch):
    import myosotis.engine.events as module

    written = []

    def write_text(path, text):
        if len(written) == killed_after:
            raise KeyboardInterrupt
        written.append(path)
        path.write_text(text)

    monkeypatch.setattr(module, "write_text", write_text)
    if killed_after < 2:
        with pytest.raises(KeyboardInterrupt):
            log.rewind(lambda event: event["step"] < 2)
    else:
        log.rewind(lambda event: event["step"] < 2)
    assert steps(again) == ([0, 1, 2, 3] if killed_after == 0 else [0, 1])


@pytest.mark.parametrize("line", ["[1, 2]", "7", "torn"])
def test_a_line_that_is_no_event_is_named(line, tmp_path, again):
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 0}) + f"\n{line}\n")
    with pytest.raises(InputError, match=r"line 2: damaged: not an event"):
        again.read()
