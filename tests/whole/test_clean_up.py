"""A run that is stopped between its result and the removal of what it does not need any more."""

import pytest
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.engine.run import Run

KINDS = ("language", "photos", "classes", "segments", "streams", "pretrain", "protocol", "denoiser")


@pytest.fixture(scope="module")
def world(tiny_jobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    tiny_jobs.inputs(folder)
    return folder


def entries(run):
    return {str(path.relative_to(run)) for path in run.rglob("*")}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_stopped_run_left_goes_when_it_is_resumed(kind, world, tiny_jobs, monkeypatch):
    """Checkpoints stayed for good, a model that knows what was to be forgotten among them."""
    file = tiny_jobs.written(world, kind)

    def run(name, *options):
        return CliRunner().invoke(app, ["run", str(file), "--out", str(world / name), *options]).exit_code

    assert run(f"{kind}-whole") == 0
    finish = Run.finish

    def stopped(*arguments):
        finish(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as until_the_result:
        until_the_result.setattr(Run, "finish", stopped)
        assert run(f"{kind}-stopped") == 130
    assert (world / f"{kind}-stopped" / "result.json").is_file()
    assert run(f"{kind}-stopped", "--resume") == 0
    assert entries(world / f"{kind}-stopped") == entries(world / f"{kind}-whole")
