"""One page of all runs and requests below a folder: deadlines, answers, links; names of nobody."""

import datetime
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from myosotis.desk.requests import Request, is_request, request_names
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json
from myosotis.engine.run_directory import is_run
from myosotis.evaluation.comparison import ANSWERS
from myosotis.ledger.table import answers_of
from myosotis.report.render import page, running_title

_DEPTH = 4
_HEAD = 1000
"""Bytes of a page among which it says what it is."""


@dataclass(frozen=True)
class Line:
    """A run on the page.

    Attributes:
        name: Its path below the folder.
        link: Address of its report, relative to the page; empty if there is none.
        kind: Kind of job.
        finished: When it ended, in UTC; empty while it is not.
        answers: By question, yes, no or undecided.
        problem: Why it cannot be read; empty if it can.
    """

    name: str
    link: str = ""
    kind: str = ""
    finished: str = ""
    answers: tuple[tuple[str, str], ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class RequestLine:
    """A request on the page: its number, never a name.

    Attributes:
        name: Its path below the folder.
        received: Day on which it came.
        due: Day by which it has to be answered.
        left: Days left, ``answered`` or ``late``, in words.
        late: Whether the deadline has passed.
        state: What it is waiting for.
        records: Records to forget, of those found.
        run: Its run, if there is one.
        problem: Why it cannot be read; empty if it can.
    """

    name: str
    received: str = ""
    due: str = ""
    left: str = ""
    late: bool = False
    state: str = ""
    records: str = ""
    run: Line | None = None
    problem: str = ""


def index_page(folder: Path, today: datetime.date) -> str:
    """Return the page; it belongs into the folder, for its links are relative.

    Args:
        folder: Folder of runs, of requests, or of both; four floors deep.
        today: The date that deadlines are counted from.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    title, requests, runs = f"Runs and requests: {folder.resolve().name}", [], []
    for path in _entries(folder, _DEPTH):
        if is_request(path):
            requests.append(_request_line(path, folder, today))
        else:
            runs.append(_line(path, folder))
    requests.sort(key=_urgency)
    runs.sort(key=lambda line: line.finished, reverse=True)
    return page(
        "index.html.j2",
        title=title,
        running=running_title(title, []),
        today=today.isoformat(),
        requests=requests,
        runs=runs,
        late=sum(line.late for line in requests),
        open=sum(line.state != "answered" for line in requests),
    )


def is_index(path: Path) -> bool:
    """Return whether a file is such a page, which a new one may replace."""
    return path.is_file() and b'content="myosotis report --index"' in path.read_bytes()[:_HEAD]


def request_lines(desk: Path, today: datetime.date) -> list[RequestLine]:
    """Return the requests of a desk, the most urgent first, and answered ones last.

    Args:
        desk: Folder of the requests.
        today: The date that deadlines are counted from.

    Raises:
        InputError: There is no such folder.
    """
    return sorted((_request_line(desk / name, desk, today) for name in request_names(desk)), key=_urgency)


def _urgency(line: RequestLine) -> tuple[bool, str, str]:
    return line.state == "answered", line.due, line.name


def _entries(folder: Path, depth: int) -> Iterator[Path]:
    """Runs and requests below a folder; what is inside of one belongs to it."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if is_request(path) or _is_run(path):
            yield path
        elif depth > 1 and os.access(path, os.R_OK | os.X_OK):
            yield from _entries(path, depth - 1)


def _is_run(path: Path) -> bool:
    """Whether this is a run; of a finished one the salt may have been removed."""
    return (path / "result.json").is_file() or is_run(path)


def _request_line(path: Path, folder: Path, today: datetime.date) -> RequestLine:
    name = str(path.relative_to(folder))
    try:
        request = Request.read(path)
    except InputError as error:
        return RequestLine(name, problem=str(error).removeprefix(f"{path}/"))
    left = request.days_left(today)
    late = left is not None and left < 0
    words = f"answered {request.answered}" if left is None else f"{-left} days late" if late else f"{left} days left"
    return RequestLine(
        name,
        request.letter.received.isoformat(),
        request.letter.due.isoformat(),
        words,
        late,
        request.state,
        f"{len(request.to_forget)} of {len(request.found)}",
        _line(request.run, folder) if _is_run(request.run) else None,
    )


def _line(path: Path, folder: Path) -> Line:
    name = str(path.relative_to(folder))
    report = path / "report.html"
    link = quote(str(report.relative_to(folder))) if report.is_file() else ""
    if not (path / "result.json").is_file():
        return Line(name, link, problem="not finished")
    try:
        result = read_json(path / "result.json")
        verdict = answers_of(result.get("verdict"))
        answers = tuple((name.replace("_", " "), ANSWERS[holds]) for name, holds in verdict)
        return Line(name, link, str(result.get("kind", "")), _moment(result.get("finished")), answers)
    except (InputError, AttributeError):
        return Line(name, link, problem="its result is damaged")


def _moment(finished: object) -> str:
    return str(finished or "")[:16].replace("T", " ")
