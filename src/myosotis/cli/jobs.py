"""What the commands that carry out a job share: their options, and how they go about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.jobs import JOBS, command_of, routed

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
    return [job.kind for job in JOBS.values()]


JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="Kind of job, e.g. unlearn-classifier.", autocompletion=_job_names)
]


def say(line: str) -> None:
    """Print a line about what is going on, once for all processes."""
    from myosotis.engine.printable import printable
    from myosotis.engine.processes import is_main_process

    if is_main_process():
        typer.echo(printable(line), err=True)


def job_command(command: str) -> Callable[..., None]:
    """Return the function of a command that carries out a job, with the options that all of them share.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`.
    """

    def run(
        config: ConfigFile,
        set_: Overrides = None,
        out: Out = None,
        resume: Resume = False,
        overwrite: Overwrite = False,
        ledger: LedgerFolder = None,
    ) -> None:
        carry_out(command, config, set_, out, ledger, resume=resume, overwrite=overwrite)

    run.__doc__ = _help(command)
    return run


def deletion_command(command: str, samples: str) -> Callable[..., None]:
    """Return the function of a command that deletes, which can put what it deletes into the run.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`.
        samples: Help of ``--show-samples``.
    """
    show = typer.Option("--show-samples", help=samples)

    def run(
        config: ConfigFile,
        set_: Overrides = None,
        out: Out = None,
        resume: Resume = False,
        overwrite: Overwrite = False,
        show_samples: bool = False,
        ledger: LedgerFolder = None,
    ) -> None:
        carry_out(command, config, set_, out, ledger, resume=resume, overwrite=overwrite, show_samples=show_samples)

    def run_or_plan(
        config: ConfigFile,
        set_: Overrides = None,
        out: Out = None,
        resume: Resume = False,
        overwrite: Overwrite = False,
        show_samples: bool = False,
        plan: Annotated[
            bool, typer.Option("--plan", help="Print how much memory the job takes, by process, and do nothing else.")
        ] = False,
        ledger: LedgerFolder = None,
    ) -> None:
        options = {"resume": resume, "overwrite": overwrite, "show_samples": show_samples}
        if plan:
            print_plan(command, config, set_, out, ledger=ledger is not None, **options)
        else:
            carry_out(command, config, set_, out, ledger, **options)

    chosen = run if JOBS[command].plan is None else run_or_plan
    chosen.__annotations__["show_samples"] = Annotated[bool, show]
    chosen.__doc__ = _help(command)
    return chosen


def print_plan(command: str, config: Path, overrides: list[str] | None, out: Path | None, **options: bool) -> None:
    """Print how much memory a job takes; no weight is read, and nothing is written.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`, of a kind that can be planned.
        config: The file.
        overrides: Settings like ``training.epochs=3``.
        out: The run directory; must be None, as must every option be false: a plan makes no run.
        options: Options of a run.
    """
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.engine.printable import printable
        from myosotis.engine.processes import is_main_process

        given = ["out"] * (out is not None) + [name for name, value in options.items() if value]
        if given:
            raise InputError(f"--plan makes no run; leave out --{given[0].replace('_', '-')}")
        settings = read_settings(command, config, overrides)
        lines = JOBS[command].planner()(settings, Path("runs") / settings.name)
        if is_main_process():
            for line in lines:
                typer.echo(printable(line))


def _help(command: str) -> str:
    kind = JOBS[command].kind
    start = f"A first CONFIG for your own data: `myosotis init {kind} PATHS`. Its keys: `myosotis schema {kind} .`"
    return f"{JOBS[command].summary}\n\n{start}"


def carry_out(
    command: str,
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    ledger: Path | None = None,
    *,
    resume: bool,
    overwrite: bool,
    **more: bool,
) -> None:
    """Read the configuration, check, work, write the report, and print its beginning.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`.
        config: The file.
        overrides: Settings like ``training.epochs=3``.
        out: The run directory; None: ``runs/`` and the name in the configuration.
        ledger: Ledger that the finished run is recorded in.
        resume: Continue the run.
        overwrite: Replace the run.
        more: What jobs of this kind take besides, ``show_samples``.
    """
    with exit_statuses():
        command = routed(command, config, overrides)
        record = None if ledger is None else _recorder(ledger)
        job, _, _ = prepared(command, config, overrides, out, resume=resume, overwrite=overwrite, **more)
        from myosotis.engine.processes import is_main_process
        from myosotis.report.card import write_card
        from myosotis.report.render import render_text, write_html

        run = job.run()
        if is_main_process():
            document = JOBS[command].report_module().describe(run)
            write_html(document, run.path / "report.html")
            write_card(document, run)
            typer.echo(render_text(document))
            typer.echo(f"report: {run.path / 'report.html'}")
            if record is not None:
                typer.echo(f"ledger: line {record(run.path)} of {ledger}")


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


def prepared(
    command: str, config: Path, overrides: list[str] | None, out: Path | None, **options: bool
) -> tuple[Any, Any, Path]:
    """Read the configuration of a job and check everything that the user gave.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`.
        config: The file.
        overrides: Settings like ``training.epochs=3``.
        out: The run directory; None: ``runs/`` and the name in the configuration.
        options: Further arguments of the job.

    Returns:
        The job, its configuration and its run directory.

    Raises:
        InputError: Something is wrong with them.
    """
    settings = read_settings(command, config, overrides)
    directory = out if out is not None else Path("runs") / settings.name
    job = JOBS[command].job_class()(settings, directory, say=say, **options)
    job.prepare()
    return job, settings, directory


def read_settings(command: str, config: Path, overrides: list[str] | None) -> Any:
    """Return the configuration of a job.

    Args:
        command: A key of :data:`~myosotis.jobs.JOBS`.
        config: The file.
        overrides: Settings like ``training.epochs=3``.

    Raises:
        InputError: It is faulty, or that of another command.
    """
    # What libraries say to their developers is of no use to a user of a command.
    warnings.simplefilter("ignore", FutureWarning)
    from myosotis.engine.config import load_config
    from myosotis.engine.errors import InputError
    from myosotis.engine.yaml_text import read_yaml

    read_yaml(config)  # a file that is missing or no YAML need not wait for the modules of the job
    kind = JOBS[command]
    try:
        return load_config(config, kind.schema(), overrides or [])
    except InputError:
        other = command_of(config, kind)
        if other is None:
            raise
        raise InputError(f"{config}: this is a configuration of 'myosotis {JOBS[other].words}'") from None


learn = typer.Typer(help="Learn new things without forgetting the old ones.", no_args_is_help=True)
for _name in ("classes", "segments", "representations"):
    learn.command(_name)(job_command(f"learn {_name}"))

unlearn = typer.Typer(help="Erase what a model should no longer know.", no_args_is_help=True)
for _name, _samples in (
    ("language", "Quote the forget records and the answers to them in the run."),
    ("classifier", "Put the forgotten images into the run and its report."),
):
    unlearn.command(_name)(deletion_command(f"unlearn {_name}", _samples))
