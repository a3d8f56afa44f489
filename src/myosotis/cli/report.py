"""``myosotis report``: draw a run's report again, say it in plain words, or put several runs side by side."""

import errno
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.jobs import JOBS


class Reader(StrEnum):
    """Who is going to read the page."""

    engineer = "engineer"
    person = "person"


def report(
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN...", help="Run directories, all of one kind.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page; RUN/report.html for one run, RUN/person.html for a person, comparison-RUN-RUN.html for "
            "several runs."
        ),
    ] = None,
    for_: Annotated[
        Reader,
        typer.Option("--for", help="For a person: half a page about a deletion in plain words."),
    ] = Reader.engineer,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
    index: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write DIR/index.html instead: all runs and requests below this folder."),
    ] = None,
) -> None:
    """Write the report of a run again, compare runs of one kind side by side, or list all of a folder on a page."""
    with exit_statuses():
        from myosotis.engine.errors import InputError

        if index is not None:
            _write_index(index, runs, out, overwrite=overwrite)
            return
        if not runs:
            raise InputError("name a run, or a folder of runs with --index")
        from myosotis.engine.files import write_text
        from myosotis.engine.run import Run
        from myosotis.report.groups import comparison_name
        from myosotis.report.render import render_html, render_text

        opened = [Run.read(path) for path in runs]
        kinds = {str(run.result().get("kind")) for run in opened}
        if len(kinds) > 1:
            raise InputError(f"runs of different kinds cannot be compared: {', '.join(sorted(kinds))}")
        name = kinds.pop()
        kind = JOBS.get(name)
        if kind is None:
            raise InputError(f"{runs[0]}: this version knows no report of the kind {name!r}")
        module, alone = kind.report_module(), len(opened) == 1
        if for_ is Reader.person:
            page = out or opened[0].path / "person.html"
            content, shown = _for_person(module, opened), ""
        else:
            page = out or (opened[0].path / "report.html" if alone else Path(comparison_name(opened)))
            document = module.describe(opened[0]) if alone else module.compare(opened)
            content, shown = render_html(document), render_text(document)
        own_report = alone and out is None
        if page.is_dir():
            raise InputError(f"{page}: is a directory; --out names the page")
        if page.exists() and not own_report and not overwrite:
            raise InputError(f"{page}: already exists; --overwrite replaces it")
        if not page.parent.is_dir():
            raise InputError(f"{page.parent}: no such directory")
        if shown:
            typer.echo(shown)
        try:
            write_text(page, content)
        except OSError as error:
            # Of a run on read-only storage the text is what was asked for; a page with a name of its own is missed.
            if not own_report or not shown or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            typer.echo(f"{page} was not written ({error.strerror}); --out names another page", err=True)
        else:
            typer.echo(f"report: {page}")


def _write_index(folder: Path, runs: list[Path] | None, out: Path | None, *, overwrite: bool) -> None:
    from datetime import UTC, datetime

    from myosotis.desk.index import index_page, is_index
    from myosotis.engine.errors import InputError
    from myosotis.engine.files import write_text

    if runs or out is not None:
        raise InputError("--index lists a whole folder, on a page in it; leave runs and --out away")
    page = folder / "index.html"
    if page.exists() and not overwrite and not is_index(page):
        raise InputError(f"{page}: already exists and is not an index page; --overwrite replaces it")
    write_text(page, index_page(folder, datetime.now(UTC).astimezone().date()))
    typer.echo(f"index: {page}")


def _for_person(module: Any, runs: list[Any]) -> str:
    from myosotis.engine.errors import InputError

    if not hasattr(module, "for_person"):
        raise InputError(f"{runs[0].path}: a page for a person is about a deletion; this run deleted nothing")
    if len(runs) > 1:
        raise InputError("a page for a person is about one run")
    content: str = module.for_person(runs[0])
    return content
