"""What `pip install .` alone must do: import the modules, help with every command, and run tiny jobs of the kinds.

What needs an extra must be missed in one line that names it; with the word ``all`` the extras are there, and every
kind of job must run. It is no test of pytest's: it runs in an environment that has the package and what it depends on,
and nothing else (`make test-installed`).
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


LANGUAGE = (
    "myosotis.unlearning.language",
    "myosotis.forgetting_learner.adapters.",
    "myosotis.models.causal_lm",
    "myosotis.init.language_",
)


def import_everything(extras):
    def failed(name):
        assert not extras, name

    names = [module.name for module in pkgutil.walk_packages(myosotis.__path__, "myosotis.", failed)]
    for name in names:
        of_language = name.startswith(LANGUAGE)
        if name != "myosotis.__main__" and (extras or not of_language):
            importlib.import_module(name)
    print(f"{len(names)} modules are importable")


def missed(extra, *arguments):
    """A command that needs an extra ends with one line that names it, and writes nothing."""
    before = sorted(Path().rglob("*"))
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    lines = outcome.stderr.strip().splitlines()
    if outcome.exit_code != 2 or not lines[-1].endswith(f"pip install 'myosotis[{extra}]'"):
        sys.exit(f"myosotis {' '.join(map(str, arguments))}: expected to be told of {extra}, got {outcome.output}")
    assert sorted(Path().rglob("*")) == before
    print(f"  -    myosotis {' '.join(map(str, arguments[:3]))}: {lines[-1]}", flush=True)


def help_with_everything(command, words=()):
    run(*words, "--help")
    for name, inner in getattr(command, "commands", {}).items():
        help_with_everything(inner, (*words, name))


def every_kind(folder, extras):
    """A tiny job of each kind, and what is done with finished runs."""
    tiny_jobs.inputs(folder, extras=extras)
    runs = folder / "runs"
    os.chdir(folder)
    of_extras = {} if extras else {"language": "language", "protocol": "protocol"}
    for name in tiny_jobs.JOBS:
        path = tiny_jobs.written(folder, name)
        if name in of_extras:
            missed(of_extras[name], "run", path, "--out", runs / name)
        else:
            run("run", path, "--out", runs / name)
    if extras:
        again = tiny_jobs.written(folder, "language", seed=2)
        run("run", again, "--out", runs / "language-2")
        run("report", runs / "language", runs / "language-2", "--out", folder / "comparison.html")
    run("audit", "classifier", runs / "photos")
    run("probe", runs / "classes")
    path = tiny_jobs.written(folder, "pretrain", job="pretrain-sweep", ratios=[0.5, 0.75], seeds=2)
    run("run", path, "--out", runs / "sweep")
    for name, words in tiny_jobs.FILES.items():
        if name == "reads" and not extras:
            missed("dna", *words)
        else:
            run(*words, "--report", f"{name}.html")
    run("methods", "--json")
    for finished in sorted(runs.iterdir()):
        run("report", finished)


def start(folder, extras):
    """What somebody does who has the wheel and a folder of photos, and nothing else."""
    os.chdir(folder)
    tiny_jobs.photos(folder / "our photos", 24, 0, side=40)
    run("example", "forget-digits")
    run("init", "learn-classes", "our photos")
    run("check", "learn-classes.yaml")
    run("run", "learn-classes.yaml", "--set", "training.epochs=2")
    run("schema", "learn-classes")
    run("demo")
    run("ledger", "init", "life")
    stamp = ("ledger", "timestamp", "life", "--request", "head.tsq")
    if extras:
        run(*stamp)
    else:
        missed("timestamp", *stamp)
        missed("language", "init", "unlearn-language")
        missed("language", "export", "a run", "--out", "adapters")


def main():
    extras = sys.argv[1:] == ["all"]
    import_everything(extras)
    help_with_everything(typer.main.get_command(app))
    for part in (every_kind, start):
        with tempfile.TemporaryDirectory() as folder:
            part(Path(folder), extras)
            os.chdir("/")
    print("every command runs" if extras else "a plain install runs every command that needs no extra")


if __name__ == "__main__":
    main()
