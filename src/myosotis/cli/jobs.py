"""How a command carries out a job, whatever the job is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    # These load torch, for which --help should not wait.
    from myosotis.engine.job import Job
    from myosotis.engine.run import Run
    from myosotis.report.document import Document


def say(line: str) -> None:
    """Print a line about what is going on, once for all processes."""
    from myosotis.engine.processes import is_main_process

    if is_main_process():
        typer.echo(line, err=True)


def carry_out(job: Job[Any], describe: Callable[[Run], Document]) -> None:
    """Check, work, write the report, and print its beginning."""
    from myosotis.engine.processes import is_main_process
    from myosotis.report.render import render_text, write_html

    job.prepare()
    run = job.run()
    if is_main_process():
        document = describe(run)
        write_html(document, run.path / "report.html")
        typer.echo(render_text(document))
        typer.echo(f"report: {run.path / 'report.html'}")
