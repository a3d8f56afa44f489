"""``myosotis requests``: a folder of deletion requests, from the letter to the answer."""

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import LedgerFolder, Overwrite, Resume, carry_out, say

if TYPE_CHECKING:
    from myosotis.desk.requests import Request
    from myosotis.desk.search import Hit

requests = typer.Typer(help="Answer deletion requests: letters, deadlines, records, runs.", no_args_is_help=True)

DeskFolder = Annotated[Path, typer.Option("--desk", metavar="DIR", help="Folder of the requests.")]
RequestName = Annotated[str, typer.Argument(metavar="REQUEST", help="Name of a request, see `myosotis requests list`.")]
Which = Annotated[
    str | None,
    typer.Option(metavar="WHICH", help="Records: all, subject, named, part, numbers, ranges; e.g. subject,3,7-9."),
]

_DESK = Path("requests")
_SHOWN = 400


@requests.command()
def add(
    letter: Annotated[Path, typer.Argument(metavar="LETTER", help="The letter: a YAML file.")], desk: DeskFolder = _DESK
) -> None:
    """Put a letter on the desk, search its files for the person, and show what was found.

    \b
    LETTER, for example:
        received: 2026-11-20
        person: Ada Quill
        language: en                      # of the answer: en, de, fr, ko, es
        subjects: [Ada Quill, A. Quill]   # names in the records; the person unless given
        sources: [facts.jsonl]            # all records that the model was trained on
        job: forget.yaml                  # unlearn-language or unlearn-adapters
    """
    with exit_statuses(resumes=False):
        from myosotis.desk.letter import LANGUAGES
        from myosotis.desk.requests import add_request

        request, hits = add_request(desk, letter)
        _show(request, hits, desk)
        language = request.letter.language
        if language not in LANGUAGES:
            say(f"there is no template for an answer in '{language}'; `requests answer --templates` takes one of yours")


@requests.command(name="list")
def list_(desk: DeskFolder = _DESK) -> None:
    """List the requests, the most urgent first."""
    with exit_statuses(resumes=False):
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        from myosotis.desk.index import request_lines
        from myosotis.engine.printable import printable

        table = Table()
        for column in ("Request", "Received", "Due", "Left", "Records", "State"):
            table.add_column(column, overflow="fold")
        for line in request_lines(desk, _today()):
            left = Text(line.left, style="bold red" if line.late else "")
            state = Text(printable(line.problem or line.state), style="bold red" if line.problem else "")
            table.add_row(Text(printable(line.name)), line.received, line.due, left, line.records, state)
        Console().print(table)


@requests.command()
def search(request: RequestName, desk: DeskFolder = _DESK) -> None:
    """Search the files again, e.g. after they changed; decisions about records that are still there stay."""
    with exit_statuses(resumes=False):
        from myosotis.desk.requests import find_request

        found = find_request(desk, request)
        found.check_open()
        again, hits = found.searched_again()
        again.write()
        _show(again, hits, desk)


@requests.command()
def review(request: RequestName, forget: Which = None, keep: Which = None, desk: DeskFolder = _DESK) -> None:
    """Show the records that were found, or decide which of them are to be forgotten and which are somebody else's."""
    with exit_statuses(resumes=False):
        from myosotis.desk.requests import find_request, record_filter

        found = find_request(desk, request)
        hits = found.hits()  # numbers are those of the records that are shown
        for which, forgets in ((forget, True), (keep, False)):
            if which is not None:
                found = found.decided(forgets, record_filter(which.split(","), found.found))
                found.write()
        _show(found, hits, desk)


@requests.command()
def run(
    request: RequestName,
    resume: Resume = False,
    overwrite: Overwrite = False,
    ledger: LedgerFolder = None,
    desk: DeskFolder = _DESK,
) -> None:
    """Carry out the job of a request whose records are all reviewed, on the model that the last request left."""
    with exit_statuses():
        from myosotis.desk.requests import find_request

        found = find_request(desk, request)
        # What was interrupted goes on with what it began with; a run that is not there yet is of the last review.
        config = found.path / "job.yaml"
        if not (resume and found.run.exists()):
            _, config, before = found.prepare()
            if before is not None:
                say(f"starting from the model of request {before}")
    carry_out(config, None, found.run, ledger, resume=resume, overwrite=overwrite)
    say(f"next: myosotis requests answer {shlex.quote(request)}{_of(desk)}")


@requests.command()
def answer(
    request: RequestName,
    templates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder with answer.LANGUAGE.txt.j2 of your own.")
    ] = None,
    desk: DeskFolder = _DESK,
) -> None:
    """Write the answer in the person's language, for somebody to read, sign and send."""
    with exit_statuses(resumes=False):
        from myosotis.desk.answer import write_answer
        from myosotis.desk.requests import find_request

        path = write_answer(find_request(desk, request), _today(), templates)
        typer.echo(path.read_text(encoding="utf-8"))
        typer.echo(f"answer: {path}")
        if path.with_name("forget.jsonl").is_file():
            say(f"when the run needs no more audits: myosotis requests clear {shlex.quote(request)}{_of(desk)}")


@requests.command()
def clear(request: RequestName, desk: DeskFolder = _DESK) -> None:
    """Remove the records that were written for the job of an answered request; the run cannot be audited again."""
    with exit_statuses(resumes=False):
        from myosotis.desk.requests import find_request
        from myosotis.engine.errors import InputError

        found = find_request(desk, request)
        if found.state != "answered":
            raise InputError(f"{request}: is not answered yet")
        removed = found.remove_data()
        typer.echo(f"removed: {', '.join(removed) if removed else 'nothing; there was nothing left'}")


def _show(request: "Request", hits: Sequence["Hit"], desk: Path) -> None:
    """Print what was found, and the next command."""
    from myosotis.desk.search import REASONS
    from myosotis.engine.printable import printable

    left = request.days_left(_today())
    late = "" if left is None else f", {-left} days late" if left < 0 else f", {left} days left"
    typer.echo(f"request: {request.id}, due {request.letter.due}{late}")
    marks = {None: "?", True: "forget", False: "keep"}
    for number, (row, hit) in enumerate(zip(request.found, hits, strict=True), 1):
        text = " ".join(" ".join(hit.texts).split())
        text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
        typer.echo(printable(f"{number}. [{marks[row.forget]}] {Path(row.where).name}: {REASONS[row.why]}\n   {text}"))
    name = f"{shlex.quote(request.id)}{_of(desk)}"
    if not request.found:
        say(f"nothing was found under these names; next: myosotis requests answer {name}")
    elif request.state == "to review":
        say(f"next: myosotis requests review {name} --forget WHICH --keep WHICH, e.g. --forget subject --keep part")
    elif request.state == "to run":
        say(f"next: myosotis requests run {name}")
    elif request.state == "to answer":
        say(f"next: myosotis requests answer {name}")


def _of(desk: Path) -> str:
    return "" if desk == _DESK else f" --desk {shlex.quote(str(desk))}"


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).astimezone().date()
