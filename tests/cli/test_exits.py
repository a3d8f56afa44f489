"""What a command ends with."""

import errno

import pytest
import typer
from typer.testing import CliRunner

from myosotis.cli.exits import exit_statuses
from myosotis.engine.errors import DivergedError, InputError, SettingsError


def ending(error):
    """Status and standard error of a command that raises this."""
    app = typer.Typer()

    @app.command()
    def work():
        with exit_statuses():
            raise error

    outcome = CliRunner().invoke(app, [])
    return outcome.exit_code, outcome.stderr, outcome.exception


def test_bad_input_is_one_line_and_status_2():
    assert ending(InputError("a.yaml:\n no such file"))[:2] == (2, "error: a.yaml: no such file\n")


def test_a_training_that_diverged_is_one_line_and_status_1():
    assert ending(DivergedError("training diverged in task 2"))[:2] == (1, "error: training diverged in task 2\n")


def test_a_full_disk_is_one_line_and_status_1():
    error = OSError(errno.ENOSPC, "No space left on device", "cache")
    assert ending(error)[:2] == (1, "error: cache: No space left on device; --resume continues the run\n")


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), SettingsError("caught by no job"), OSError(errno.EACCES, "Permission denied", "x")]
)
def test_a_fault_of_the_program_keeps_its_traceback(error):
    status, printed, raised = ending(error)
    assert (status, printed) == (1, "")
    assert raised is error
