"""What a command ends with."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from safetensors import SafetensorError
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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "cache"), "cache: No space left on device"),
        (OSError(errno.EROFS, "Read-only file system", "a", None, "b"), "a: b: Read-only file system"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "run/result.json"), "run/result.json: No such"),
        (FileExistsError("model exists"), "model exists"),
        (MemoryError(), "error: out of memory; --resume"),
        (MemoryError("Unable to allocate 1 TiB"), "error: out of memory: Unable to allocate 1 TiB"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "weights cannot be written or read"),
        (RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0"), "is the disk full?"),
        (RuntimeError("basic_ios::clear: iostream error"), "is the disk full?"),
        (RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1"), "was lost"),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 16319 vs 16272"),
            "is the disk full?",
        ),
    ],
)
def test_what_the_system_refuses_is_one_line_and_status_1(error, line):
    status, printed, _ = ending(error)
    assert status == 1
    assert printed.startswith("error: ")
    assert line in printed
    assert printed.endswith("; --resume continues the run\n")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        SettingsError("caught by no job"),
        RuntimeError("a bug"),
        SafetensorError("header too large"),
        KeyError("a bug"),
    ],
)
def test_a_fault_of_the_program_keeps_its_traceback(error):
    status, printed, raised = ending(error)
    assert (status, printed) == (1, "")
    assert raised is error


def test_an_interruption_is_one_line_and_the_status_that_shells_report():
    assert ending(KeyboardInterrupt())[:2] == (130, "interrupted; --resume continues the run\n")


def test_termination_is_one_line_and_leaves_the_handler_as_it_was():
    before = signal.getsignal(signal.SIGTERM)
    app = typer.Typer()

    @app.command()
    def work():
        with exit_statuses():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            except Exception:
                pytest.fail("an error handler caught it")

    outcome = CliRunner().invoke(app, [])
    assert (outcome.exit_code, outcome.stderr) == (143, "terminated; --resume continues the run\n")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_gone_ends_it_without_a_word():
    process = subprocess.Popen(
        [sys.executable, "-m", "myosotis", "methods"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
