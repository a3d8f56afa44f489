"""The command line from tests: in this process, killed while it works, and in two processes."""

import json
import os
import signal
import subprocess
import sys
import time

from typer.testing import CliRunner

from myosotis.cli.app import app

ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


def invoke(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def settings(*options):
    """Options that override settings."""
    return [part for option in options for part in ("--set", option)]


def result(out):
    """What a run has found."""
    return json.loads((out / "result.json").read_text())


def killed_at(place, *arguments):
    """Run a command in a process of its own and kill it as soon as there is ``place``."""
    command = [sys.executable, "-m", "myosotis", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while not place.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def in_two_processes(*arguments):
    """Run a command in two processes that share its work; what was printed is for a failed assertion."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "myosotis"]
    command += map(str, arguments)
    # Now and then gloo aborts a process that leaves while its peer still talks; the work is done by then.
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
