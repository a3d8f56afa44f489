"""What the commands that carry out a job share: their options, and how they go about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from myosotis.cli.kinds import command_of

if TYPE_CHECKING:
    # These load torch, for which --help should not wait.
    from myosotis.engine.config import ConfigT
    from myosotis.engine.job import Job
    from myosotis.engine.run import Run
    from myosotis.report.document import Document

ConfigFile = Annotated[Path, typer.Argument(help="The job: a YAML file. See examples/ and the documentation.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.epochs=3. Repeatable."),
]
Out = Annotated[Path | None, typer.Option(help="The run directory; runs/<name> unless given.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run, or start a new one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")]


def say(line: str) -> None:
    """Print a line about what is going on, once for all processes."""
    from myosotis.engine.printable import printable
    from myosotis.engine.processes import is_main_process

    if is_main_process():
        typer.echo(printable(line), err=True)


def carry_out(
    config: Path,
    overrides: list[str] | None,
    out: Path | None,
    schema: type[ConfigT],
    resolve_paths: Callable[[ConfigT, Path], ConfigT],
    make: Callable[..., Job[ConfigT]],
    describe: Callable[[Run], Document],
    **options: bool,
) -> None:
    """Read the configuration, check, work, write the report, and print its beginning.

    Args:
        config: The file.
        overrides: Settings like ``training.epochs=3``.
        out: The run directory; None: ``runs/`` and the name in the configuration.
        schema: Of the configuration; it has a ``name``.
        resolve_paths: Makes its paths absolute, from those relative to the file.
        make: The job.
        describe: From the finished run to its report.
        options: ``resume``, ``overwrite`` and ``show_samples``.
    """
    from myosotis.engine.config import load_config
    from myosotis.engine.errors import InputError
    from myosotis.engine.processes import is_main_process
    from myosotis.report.render import render_text, write_html

    try:
        loaded = load_config(config, schema, overrides or [])
    except InputError:
        command = command_of(config, schema)
        if command is None:
            raise
        raise InputError(f"{config}: this is a configuration of 'myosotis {command}'") from None
    settings: Any = resolve_paths(loaded, config.resolve().parent)
    job = make(settings, out if out is not None else Path("runs") / settings.name, say=say, **options)
    job.prepare()
    run = job.run()
    if is_main_process():
        document = describe(run)
        write_html(document, run.path / "report.html")
        typer.echo(render_text(document))
        typer.echo(f"report: {run.path / 'report.html'}")
