"""Files of a run that are not what the job wrote are named by whatever reads the run."""

import pytest

from myosotis.engine import Config, InputError, Run


class Settings(Config):
    a: int = 1


@pytest.fixture
def finished(tmp_path):
    run = Run.open(tmp_path / "run", Settings(), seed=0)
    run.log({"step": 1, "loss": 0.5})
    (run.path / "pictures.json").write_text("[1]")
    (run.path / "samples.json").write_text("[2]")
    run.finish({"kind": "k", "figure": 0.25})
    run.close()
    return run.path


def resume(path):
    Run.open(path, Settings(), seed=0, resume=True).close()


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("read", [Run.read, resume])
@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "metrics.jsonl", "pictures.json", "result.json"])
def test_a_flipped_bit_of_a_finished_run_is_named(name, read, finished):
    read(finished)
    flip(finished / name)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read(finished)


def test_a_figure_of_a_result_is_not_believed_when_it_changed(finished):
    path = finished / "result.json"
    path.write_text(path.read_text().replace("0.25", "0.75"))
    with pytest.raises(InputError, match=r"result\.json: damaged or edited"):
        Run.read(finished)
    (finished / "digests.json").unlink()
    assert Run.read(finished).result()["figure"] == 0.75


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "fingerprint-salt.txt"])
def test_what_a_run_began_with_is_checked_before_it_goes_on(name, tmp_path):
    path = tmp_path / "run"
    Run.open(path, Settings(), seed=0).close()
    resume(path)
    flip(path / name)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        resume(path)


def test_events_are_checked_before_a_run_goes_on(tmp_path):
    run = Run.open(tmp_path / "run", Settings(), seed=0)
    run.log({"loss": 0.5})
    run.close()
    flip(run.path / "metrics.jsonl", -4)
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1: damaged"):
        resume(run.path)


@pytest.mark.parametrize("damage", ["flip", "half", "list"])
def test_damaged_digests_vouch_for_nothing(damage, finished):
    path = finished / "digests.json"
    if damage == "flip":
        flip(path)
    else:
        path.write_text(path.read_text()[:40] if damage == "half" else "[1, 2]")
    with pytest.raises(InputError, match=r"digests\.json: damaged"):
        Run.read(finished)


def test_what_reveals_something_may_be_removed_and_nothing_else(finished):
    for name in ("samples.json", "fingerprint-salt.txt"):
        (finished / name).unlink()
    Run.read(finished)
    (finished / "pictures.json").unlink()
    with pytest.raises(InputError, match=r"pictures\.json: is missing"):
        Run.read(finished)


def test_a_kill_between_digests_and_result_leaves_a_run_that_goes_on(tmp_path, monkeypatch):
    import myosotis.engine.run as module

    run = Run.open(tmp_path / "run", Settings(), seed=0)
    run.log({"step": 1})

    def killed(path, text):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        run.finish({"kind": "k"})
    monkeypatch.undo()
    run.close()
    resumed = Run.open(run.path, Settings(), seed=0, resume=True)
    resumed.log({"step": 2})
    resumed.finish({"kind": "k"})
    assert Run.read(run.path).events() == [{"step": 1}, {"step": 2}]


def test_pages_may_be_written_again(finished):
    (finished / "report.html").write_text("a page")
    (finished / "audit.json").write_text("{}")
    assert Run.read(finished).result()["kind"] == "k"
