"""``myosotis report``: draw a run's report again, or put several runs side by side."""

import errno
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.kinds import JOBS


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, all of one kind.")],
    out: Annotated[
        Path | None, typer.Option(help="The page; RUN/report.html for one run, comparison.html for several.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a comparison that is there.")] = False,
) -> None:
    """Write the report of a run again, or compare runs of one kind side by side."""
    with exit_statuses():
        from myosotis.engine.errors import InputError
        from myosotis.engine.run import Run
        from myosotis.report.render import render_text, write_html

        opened = [Run.read(path) for path in runs]
        kinds = {str(run.result().get("kind")) for run in opened}
        if len(kinds) > 1:
            raise InputError(f"runs of different kinds cannot be compared: {', '.join(sorted(kinds))}")
        name = kinds.pop()
        kind = next((job for job in JOBS.values() if job.kind == name), None)
        if kind is None:
            raise InputError(f"{runs[0]}: this version knows no report of the kind {name!r}")
        if len(opened) == 1:
            page, document = out or opened[0].path / "report.html", kind.report_module().describe(opened[0])
        else:
            page, document = out or Path("comparison.html"), kind.report_module().compare(opened)
        own_report = len(opened) == 1 and out is None
        if page.is_dir():
            raise InputError(f"{page}: is a directory; --out names the page")
        if page.exists() and not own_report and not overwrite:
            raise InputError(f"{page}: exists already; --overwrite replaces it")
        if not page.parent.is_dir():
            raise InputError(f"{page.parent}: no such directory")
        typer.echo(render_text(document))
        try:
            write_html(document, page)
        except OSError as error:
            # Of a run on read-only storage the text is what was asked for; a page with a name of its own is missed.
            if not own_report or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            typer.echo(f"{page} was not written ({error.strerror}); --out names another page", err=True)
        else:
            typer.echo(f"report: {page}")
