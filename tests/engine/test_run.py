"""The run directory."""

import json
import stat

import pytest

from myosotis.engine import Config, InputError, Run


class Settings(Config):
    a: int = 1
    b: dict[str, int] = {}


def test_a_run_is_made_logged_and_finished(tmp_path):
    run = Run.open(tmp_path / "runs" / "x", Settings(), seed=3)
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml",
        "environment.json",
        "checkpoints",
        "fingerprint-salt.txt",
    }
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["seed"] == 3
    assert environment["packages"]["torch"]
    assert stat.S_IMODE((run.path / "fingerprint-salt.txt").stat().st_mode) == 0o600
    run.log({"step": 1, "loss": 0.5})
    assert run.events() == [{"step": 1, "loss": 0.5}]
    with pytest.raises(InputError, match="not finished"):
        Run.read(run.path)
    run.finish({"kind": "k"})
    assert Run.read(run.path).result() == {"schema_version": 1, "kind": "k"}
    assert list((tmp_path / "runs").iterdir()) == [run.path]


def test_an_existing_run_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "x"
    Run.open(path, Settings(), seed=0).finish({})
    with pytest.raises(InputError, match="exists already"):
        Run.open(path, Settings(), seed=0)
    assert Run.open(path, Settings(), seed=0, resume=True).finished
    with pytest.raises(InputError, match="another configuration: b.y was None, is now 2"):
        Run.open(path, Settings(b={"y": 2}), seed=0, resume=True)
    assert not Run.open(path, Settings(a=2), seed=0, overwrite=True).finished
    with pytest.raises(InputError, match="exclude each other"):
        Run.open(path, Settings(), seed=0, resume=True, overwrite=True)


def test_a_directory_that_is_no_run_is_never_removed(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    for options in ({"overwrite": True}, {"resume": True}, {}):
        with pytest.raises(InputError):
            Run.open(tmp_path / "precious", Settings(), seed=0, **options)
    assert (tmp_path / "precious" / "file").read_text() == "kept"


def test_a_configuration_beside_data_does_not_make_a_run(tmp_path):
    (tmp_path / "request").mkdir()
    for name in ("config.yaml", "forget.jsonl"):
        (tmp_path / "request" / name).write_text("kept")
    with pytest.raises(InputError, match="not a run directory"):
        Run.open(tmp_path / "request", Settings(), seed=0, overwrite=True)
    assert (tmp_path / "request" / "forget.jsonl").read_text() == "kept"


def test_the_working_directory_is_not_overwritten(tmp_path, monkeypatch):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    monkeypatch.chdir(run.path)
    with pytest.raises(InputError, match="working directory"):
        Run.open(run.path, Settings(), seed=0, overwrite=True)


def test_a_place_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="not a directory that can be written to"):
        Run.open(tmp_path / "file" / "run", Settings(), seed=0)


def test_other_input_than_at_the_start_is_refused(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.check_inputs({"the model": "a", "the forget set": ["1", "2"]})
    run.check_inputs({"the model": "a", "the forget set": ["1", "2"]})
    with pytest.raises(InputError, match="the forget set changed since"):
        run.check_inputs({"the model": "a", "the forget set": ["1", "3"]})


def test_resume_starts_what_is_not_there(tmp_path):
    assert not Run.open(tmp_path / "x", Settings(), seed=0, resume=True).finished


def test_a_torn_last_line_is_left_out_and_rewinding_drops_events(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    for step in range(3):
        run.log({"step": step})
    with (run.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo')
    assert [event["step"] for event in run.events()] == [0, 1, 2]
    run.rewind(lambda event: event["step"] <= 1)
    run.log({"step": 2})
    assert [event["step"] for event in run.events()] == [0, 1, 2]


def test_a_result_of_another_schema_is_refused(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.finish({"schema_version": 99})
    with pytest.raises(InputError, match="schema version 99"):
        Run.read(run.path)
