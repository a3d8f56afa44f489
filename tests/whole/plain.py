"""What `pip install .` alone must do: import every module, help with every command, and run a tiny job of each kind.

It is no test of pytest's: it runs in an environment that has the package and what it depends on, and nothing else
(`make test-installed`).
"""

import importlib
import os
import pkgutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import tiny_jobs
import typer.main
from typer.testing import CliRunner

import myosotis
from myosotis.cli.app import app


def run(*arguments):
    started = time.monotonic()
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if outcome.exit_code:
        print(outcome.output)
        if not isinstance(outcome.exception, SystemExit):
            traceback.print_exception(*outcome.exc_info)
        sys.exit(f"myosotis {' '.join(map(str, arguments))}: exit status {outcome.exit_code}")
    print(f"{time.monotonic() - started:5.1f} s  myosotis {' '.join(map(str, arguments[:3]))}", flush=True)


def import_everything():
    names = [module.name for module in pkgutil.walk_packages(myosotis.__path__, "myosotis.")]
    for name in names:
        if name != "myosotis.__main__":
            importlib.import_module(name)
    print(f"{len(names)} modules are importable")


def help_with_everything(command, words=()):
    run(*words, "--help")
    for name, inner in getattr(command, "commands", {}).items():
        help_with_everything(inner, (*words, name))


def every_kind(folder):
    """A tiny job of each kind, and what is done with finished runs."""
    tiny_jobs.inputs(folder)
    runs = folder / "runs"
    for name, (words, _) in tiny_jobs.JOBS.items():
        run(*words, tiny_jobs.written(folder, name), "--out", runs / name)
    again = tiny_jobs.written(folder, "language", seed=2)
    run("unlearn", "language", again, "--out", runs / "language-2")
    run("report", runs / "language", runs / "language-2", "--out", folder / "comparison.html")
    run("audit", "classifier", runs / "photos")
    run("probe", runs / "classes")
    path = tiny_jobs.written(folder, "pretrain")
    run("pretrain", "sweep", path, "--ratios", "0.5", "0.75", "--seeds", 2, "--out", runs / "sweep")
    os.chdir(folder)
    for name, words in tiny_jobs.FILES.items():
        run(*words, "--report", f"{name}.html")
    run("methods", "--json")
    for finished in sorted(runs.iterdir()):
        run("report", finished)


def main():
    import_everything()
    help_with_everything(typer.main.get_command(app))
    with tempfile.TemporaryDirectory() as folder:
        every_kind(Path(folder))
        os.chdir("/")
    print("a plain install runs every command")


if __name__ == "__main__":
    main()
