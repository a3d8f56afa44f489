"""A configuration that was given to another command is recognised."""

from importlib import import_module
from pathlib import Path

import pytest
from command_line import invoke

from myosotis.cli.kinds import SCHEMAS, command_of

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


def schema(command):
    module, name = SCHEMAS[command]
    return getattr(import_module(f"myosotis.{module}"), name)


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_an_example_is_recognised_by_every_other_command(name, command):
    assert command_of(EXAMPLES / name, schema(command)) is None
    for other in set(SCHEMAS) - {command}:
        found = command_of(EXAMPLES / name, schema(other))
        # The configuration of a single pre-training is one of a sweep too.
        assert found == (None if (command, other) == ("pretrain", "pretrain sweep") else command)


def test_the_right_command_is_named(tmp_path):
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
