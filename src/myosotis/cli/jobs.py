"""What the commands that carry out a job share: their options, and how they go about it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.jobs import JOBS

if TYPE_CHECKING:
    from myosotis.report.document import Step

ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The job: a YAML file, see `myosotis init` and `myosotis example`.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.epochs=3. Repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="The run directory. Default: runs/<name>.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run, or start a new one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing run.")]
LedgerFolder = Annotated[
    Path | None,
    typer.Option(
        "--ledger", metavar="DIR", help="Record the finished run in this ledger; the key: MYOSOTIS_LEDGER_KEY."
    ),
]


def _job_names() -> list[str]:
    return list(JOBS)


JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="Kind of job, e.g. unlearn-classifier.", autocompletion=_job_names)
]


def say(line: str) -> None:
    """Print a line about what is going on, once for all processes."""
    from myosotis.engine.progress import say as say_once  # takes a second, which a usage error need not

    say_once(line)


def run(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    show_samples: Annotated[
        bool, typer.Option("--show-samples", help="Put what is deleted, and the answers about it, into the run.")
    ] = False,
    ledger: LedgerFolder = None,
) -> None:
    """Carry out the job of a configuration: its line `job: KIND` says which.

    KINDS

    A first CONFIG for your own data: `myosotis init KIND PATHS`. Its keys: `myosotis schema KIND .`
    """
    carry_out(config, set_, out, ledger, resume=resume, overwrite=overwrite, show_samples=show_samples)


run.__doc__ = str(run.__doc__).replace(
    "KINDS", "\b\n" + "\n".join(f"    {name:23}{kind.summary}" for name, kind in JOBS.items())
)


def carry_out(
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    ledger: Path | None = None,
    *,
    resume: bool,
    overwrite: bool,
    show_samples: bool = False,
) -> None:
    """Read the configuration, check, work, write the report, and print its beginning.

    Args:
        config: The file.
        overrides: Settings like ``training.epochs=3``.
        out: The run directory; None: ``runs/`` and the name in the configuration.
        ledger: Ledger that the finished run is recorded in.
        resume: Continue the run.
        overwrite: Replace the run.
        show_samples: Put what is deleted into the run.
    """
    with exit_statuses():
        record = None if ledger is None else _recorder(ledger)
        from myosotis.api import run
        from myosotis.engine.printable import printable
        from myosotis.engine.processes import is_main_process
        from myosotis.report.render import render_text

        done = run(
            config,
            out=out,
            overrides=overrides or (),
            resume=resume,
            overwrite=overwrite,
            show_samples=show_samples,
        )
        if is_main_process():
            document = done.report().document
            typer.echo(render_text(document))
            for line in _endings(done.path, document.next_steps):
                typer.echo(printable(line))
            if record is not None:
                typer.echo(f"ledger: line {record(done.path)} of {ledger}")


def _endings(run: Path, steps: Sequence[Step]) -> list[str]:
    """What a finished job leaves, where, and what to do next."""
    path, lines = shlex.quote(str(run)), []
    if (run / "model").is_dir():
        lines = [f"model: {run / 'model'}", f"load: myosotis.load({str(run)!r})"]
    lines.append(f"report: {run / 'report.html'}")
    for step in steps:
        lines.append(f"next: {step.text}")
        if step.settings:
            lines.append(f"  myosotis run {path}/config.yaml {step.options} --out {path}-next")
    return lines


def _recorder(ledger: Path) -> Callable[[Path], int]:
    """A function that records a run in a ledger and returns the number of the line; the key has been tried before.

    Raises:
        InputError: There is no ledger, or no key.
    """
    from myosotis.ledger.claims import claim_of_run
    from myosotis.ledger.keys import open_signer
    from myosotis.ledger.store import Ledger

    opened = Ledger(ledger)
    signer = open_signer(None, opened.keys)
    opened.head()
    return lambda run: opened.append(claim_of_run(run), signer)
