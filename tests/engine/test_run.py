"""The run directory."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from myosotis.engine import Config, InputError, Run, run as run_module
from myosotis.pretraining.sweep.result import SweepResult


class Settings(Config):
    a: int = 1
    b: dict[str, int] = {}


class Named(Settings):
    name: str = "job"


def test_a_run_counts_those_of_its_name(tmp_path):
    for name, settings in (("1", Named()), ("2", Named()), ("other", Named(name="other"))):
        Run.open(tmp_path / name, settings, seed=0).close()
    for _ in range(2):
        Run.open(tmp_path / "1", Named(), seed=0, overwrite=True).close()
    (tmp_path / "notes").mkdir()
    # What cannot be read, or is no configuration, is not this job.
    for name in ("locked", "broken"):
        Run.open(tmp_path / name, Named(), seed=0).close()
    (tmp_path / "broken" / "config.yaml").write_text("[")
    (tmp_path / "locked" / "environment.json").write_text("{")
    run = Run.open(tmp_path / "2", Named(), seed=0, resume=True)
    # Itself, the other one, and the two that the other one overwrote.
    assert run.attempts() == 4
    run.close()


def test_a_run_is_made_logged_and_finished(tmp_path):
    run = Run.open(tmp_path / "runs" / "x", Settings(), seed=3)
    assert {path.name for path in run.path.iterdir()} == {
        "config.yaml",
        "environment.json",
        "checkpoints",
        "digests.json",
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
    result = Run.read(run.path).result()
    started, finished = (datetime.fromisoformat(result.pop(key)) for key in ("started", "finished"))
    assert result == {"schema_version": 4, "kind": "k", "request": None, "operator": None}
    assert started.tzinfo is not None
    assert started <= finished
    run.close()
    assert list((tmp_path / "runs").iterdir()) == [run.path]


def test_an_existing_run_is_kept_unless_told_otherwise(tmp_path):
    path = tmp_path / "x"
    Run.open(path, Settings(), seed=0).finish({})
    with pytest.raises(InputError, match="already exists"):
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
    with pytest.raises(InputError, match="not a writable directory"):
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


def test_a_path_through_what_does_not_exist_is_resolved_before_every_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    for path in ("missing/../precious", "missing/..", ".", "precious/../missing/../precious"):
        for options in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(InputError):
                Run.open(Path(path), Settings(), seed=0, **options)
    assert [path.name for path in tmp_path.rglob("*")] == ["precious", "file"]
    assert Run.open(Path("missing/../new"), Settings(), seed=0).path == tmp_path / "new"


def test_a_path_that_appears_after_the_check_is_not_replaced(tmp_path, monkeypatch):
    def slow_stage(path, config, seed):
        staged = stage(path, config, seed)
        path.mkdir()
        (path / "file").write_text("kept")
        return staged

    stage = run_module.stage_run
    monkeypatch.setattr(run_module, "stage_run", slow_stage)
    with pytest.raises(OSError, match="not empty"):
        Run.open(tmp_path / "x", Settings(), seed=0)
    assert (tmp_path / "x" / "file").read_text() == "kept"


def test_what_no_job_wrote_is_not_removed_with_a_run(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    (run.path / "notes.txt").write_text("kept")
    with pytest.raises(InputError, match="holds 'notes.txt', which no job wrote"):
        Run.open(run.path, Settings(), seed=0, overwrite=True)
    (run.path / "notes.txt").unlink()
    (run.path / ".model.partial").mkdir()
    Run.open(run.path, Settings(), seed=0, overwrite=True)


def overwrite_until_killed(path, steps):
    """Replace a run in a child process that is killed after so many changes of the disk; return its exit status."""

    def counted(change):
        def step(*args, **options):
            nonlocal steps
            if steps == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            steps -= 1
            return change(*args, **options)

        return step

    child = os.fork()
    if child == 0:
        Path.rename, Path.unlink, Path.rmdir = counted(Path.rename), counted(Path.unlink), counted(Path.rmdir)
        shutil.rmtree = counted(shutil.rmtree)
        Run.open(path, Settings(a=2), seed=0, overwrite=True)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_killed_overwriting_leaves_the_old_run_or_the_new_one(tmp_path):
    outcomes = []
    for steps in range(20):
        path = tmp_path / str(steps) / "x"
        old = Run.open(path, Settings(), seed=0)
        old.finish({"name": "old"})
        (path / "model").mkdir()
        (path / "model" / "weights").write_text("old")
        old.close()
        status = overwrite_until_killed(path, steps)
        assert status in (0, -signal.SIGKILL)
        try:
            run = Run.open(path, Settings(), seed=0, resume=True)
        except InputError as error:
            assert "another configuration: a was 2, is now 1" in str(error)  # noqa: PT017
            run = Run.open(path, Settings(a=2), seed=0, resume=True)
            assert not run.finished
        else:
            assert run.finished
            assert (path / "model" / "weights").read_text() == "old"
        outcomes.append((status, run.finished))
        Run.open(path, Settings(a=3), seed=0, overwrite=True).close()
        assert [entry.name for entry in path.parent.iterdir()] == ["x"]
    # The old run, then the new one while the old is removed, then the new one and nothing left to do.
    assert outcomes == sorted(outcomes, key=lambda one: (one[0] == 0, not one[1]))
    assert {(-signal.SIGKILL, True), (-signal.SIGKILL, False), (0, False)} == set(outcomes)


def test_what_is_in_the_way_of_an_overwriting_is_not_touched(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    (tmp_path / ".x.replaced").mkdir()
    (tmp_path / ".x.replaced" / "file").write_text("kept")
    with pytest.raises(InputError, match="its name is needed here"):
        Run.open(run.path, Settings(), seed=0, overwrite=True)
    assert (tmp_path / ".x.replaced" / "file").read_text() == "kept"


def test_a_run_has_one_writer(tmp_path):
    path = tmp_path / "x"
    code = (
        "import sys, time; from pathlib import Path; from myosotis.engine import Config, Run\n"
        "class Settings(Config):\n    a: int = 1\n    b: dict[str, int] = {}\n"
        "run = Run.open(Path(sys.argv[1]), Settings(), seed=0); print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        for options in ({"resume": True}, {"overwrite": True}, {}):
            with pytest.raises(InputError, match=f"process {other.pid} on .* has been working on it"):
                Run.open(path, Settings(), seed=0, **options)
        other.kill()
    run = Run.open(path, Settings(), seed=0, resume=True)
    run.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_torn_last_line_is_cut_before_the_next_one(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.log({"step": 0})
    with (run.path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 1, "lo')
    again = Run.open(run.path, Settings(), seed=0, resume=True)
    again.log({"step": 1, "loss": float("nan"), "parts": {"kl": float("inf")}})
    assert again.events() == [{"step": 0}, {"step": 1, "loss": None, "parts": {"kl": None}}]


def test_damaged_state_is_named_or_not_used(tmp_path, caplog):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.check_inputs({"the model": "a"})
    run.keep("before.json", {"accuracy": 0.5, 3: [1, None]})
    assert run.kept("before.json") == {"accuracy": 0.5, "3": [1, None]}
    for name in ("before.json", "inputs.json"):
        kept = run.checkpoints / name
        kept.write_text(kept.read_text().replace("0.5", "0.6").replace('"a"', '"b"'))
    assert run.kept("before.json") is None
    assert "before.json: damaged" in caplog.text
    with pytest.raises(InputError, match=r"inputs\.json: damaged"):
        run.check_inputs({"the model": "b"})
    run.log({"step": 1})
    run.log({"step": 2})
    lines = run.path / "metrics.jsonl"
    lines.write_text(lines.read_text().replace('"step": 1', '"step: 1'))
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1: damaged"):
        run.events()
    (run.path / "fingerprint-salt.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"fingerprint-salt\.txt: damaged"):
        _ = run.salt
    (run.path / "config.yaml").write_text("- 1")
    with pytest.raises(InputError, match=r"config\.yaml: damaged"):
        Run.open(run.path, Settings(), seed=0, resume=True)


def test_what_a_killed_job_was_writing_is_cleared(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.close()
    left = [run.path / ".result.json.partial-0957094a", run.checkpoints / ".inputs.json.partial-715a9d4f"]
    others = [run.path / ".partial", run.checkpoints / "inputs.json"]
    for path in (*left, *others):
        path.write_text("{}")
    Run.open(run.path, Settings(), seed=0, resume=True).close()
    assert [path.exists() for path in (*left, *others)] == [False, False, True, True]


def test_a_salt_that_others_can_read_is_taken_from_them(tmp_path, caplog, monkeypatch):
    """A copy of a run, out of an archive for example, is often readable by all; the salt was used without a word."""
    run = Run.open(tmp_path / "run", Settings(), seed=0)
    path = run.path / "fingerprint-salt.txt"
    salt = run.salt
    assert not caplog.messages
    for mode in (0o644, 0o620, 0o602):
        path.chmod(mode)
        caplog.clear()
        assert run.salt == salt
        assert path.stat().st_mode & 0o777 == 0o600
        assert caplog.messages == [f"{path}: others could read or write this file; now its owner alone can"]

    def refused(*_):
        raise PermissionError

    path.chmod(0o644)
    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(InputError, match=r"fingerprint-salt.txt: others can read or write this file; its owner must"):
        _ = run.salt


@pytest.mark.parametrize("kind", ["link", "pipe", "directory"])
def test_a_planted_lock_is_neither_followed_nor_waited_for(kind, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    planted = tmp_path / ".run.lock"
    if kind == "link":
        planted.symlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(planted)
    else:
        planted.mkdir()
    with pytest.raises(OSError, match=r"\[Errno"):
        Run.open(tmp_path / "run", Settings(), seed=0)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "run").exists()


def test_a_result_is_read_as_its_kind_alone(tmp_path):
    run = Run.open(tmp_path / "x", Settings(), seed=0)
    run.finish({"kind": "learn-classes", "name": "tiny"})
    with pytest.raises(InputError, match=r"result.json: .*; it is of another kind, or another version wrote it"):
        run.result_as(SweepResult)
    (run.path / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result.json: as a whole: Invalid JSON"):
        run.result_as(SweepResult)
    run.close()
