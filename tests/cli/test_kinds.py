"""A configuration that was given to another command is recognised."""

from pathlib import Path

import pytest

from myosotis.cli.kinds import JOBS, command_of
from myosotis.engine.job import Job

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = {
    "erase-people.yaml": "unlearn language",
    "forget-photos.yaml": "unlearn classifier",
    "learn-fashion.yaml": "learn classes",
    "segment-scenes.yaml": "learn segments",
    "represent-fashion.yaml": "learn representations",
    "pretrain-fashion.yaml": "pretrain",
    "sweep-fashion.yaml": "pretrain sweep",
    "denoise-train.yaml": "denoise train",
    "protocol-fashion.yaml": "protocol",
}


def test_every_place_of_the_table_is_there():
    for job in JOBS.values():
        assert job.kind == job.job_class().kind
        assert callable(job.report_module().describe)
        assert callable(job.report_module().compare)
        assert issubclass(job.job_class(), Job)
        assert all(len(table) > 1 for table in job.method_tables().values())


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_an_example_is_recognised_by_every_other_command(name, command):
    assert command_of(EXAMPLES / name, JOBS[command]) is None
    for other in set(JOBS) - {command}:
        found = command_of(EXAMPLES / name, JOBS[other])
        # The configuration of a single pre-training is one of a sweep too.
        assert found == (None if (command, other) == ("pretrain", "pretrain sweep") else command)


def test_the_right_command_is_named(tmp_path, invoke):
    outcome = invoke("learn", "classes", EXAMPLES / "forget-photos.yaml", "--out", tmp_path / "run")
    assert outcome.exit_code == 2
    assert outcome.stderr.strip().endswith(
        "forget-photos.yaml: this is a configuration of 'myosotis unlearn classifier'"
    )
    (tmp_path / "job.yaml").write_text("name: x\nnonsense: 3\n")
    outcome = invoke("learn", "classes", tmp_path / "job.yaml", "--out", tmp_path / "run")
    assert "unknown key 'nonsense'" in outcome.stderr
    # A wrong override of a right file is not the file's fault.
    outcome = invoke("learn", "classes", EXAMPLES / "learn-fashion.yaml", "--set", "lora.rank=3")
    assert "unknown key 'lora'" in outcome.stderr
