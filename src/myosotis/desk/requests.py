"""The desk: a folder of requests, each a folder with the letter, what was found and decided, the run and the answer.

Nothing is decided by a program. A search proposes records; somebody reads them and says of each whether it is to be
forgotten; only then is there a job. What a request is waiting for is read from its files, so that a desk needs no
server and no database, and two people who look at it see the same.

    letter.yaml -> add: request.json -> review -> run: forget.jsonl, rest.jsonl, job.yaml, run/ -> answer: answer.txt

Who may open the folder may read what is to be forgotten: only its owner can.
"""

import datetime
import json
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from myosotis.desk.letter import Letter
from myosotis.desk.search import REASONS, Hit, Why, digest_of, rows_of, search
from myosotis.engine.config import dump_config, load_config, read_settings
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json, write_text
from myosotis.engine.run import Run
from myosotis.jobs import JobKind, job_of
from myosotis.report.sections import value_at

State = Literal["to review", "to run", "interrupted", "to answer", "answered"]

_FILE = "request.json"
_VERSION = 1
_DATA = ("forget.jsonl", "rest.jsonl")
_TARGETS: Mapping[str, tuple[str, str, str]] = {
    "unlearn-language": ("forget", "retain", "name"),
    "unlearn-adapters": ("forget", "remaining", "learner"),
}
"""By kind of job, the settings of ``data`` for what is to be forgotten and for the rest, and that of ``model``."""

_OF_OTHERS = ("people", "subjects")
"""Settings of ``data`` that name what is to be forgotten otherwise."""


@dataclass(frozen=True)
class Found:
    """A record that was found, and what was decided about it.

    Attributes:
        where: File and line.
        why: Why it may be about the person.
        digest: SHA-256 of the row.
        forget: Whether it is to be forgotten; None until somebody has decided.
    """

    where: str
    why: Why
    digest: str
    forget: bool | None = None


@dataclass(frozen=True)
class Request:
    """A request, as its folder has it.

    Attributes:
        path: Its folder.
        letter: The letter.
        found: The records that were found.
        answered: Day on which it was answered.
    """

    path: Path
    letter: Letter
    found: tuple[Found, ...]
    answered: datetime.date | None = None

    @classmethod
    def read(cls, path: Path) -> "Request":
        """Return the request of a folder.

        Raises:
            InputError: It holds none, or a damaged one.
        """
        content = read_json(path / _FILE)
        try:
            if content["version"] != _VERSION:
                raise InputError(f"{path / _FILE}: is of version {content['version']}, this program reads {_VERSION}")
            letter = Letter.model_validate(content["letter"], context={"folder": path.resolve()})
            found = tuple(Found(**row) for row in content["found"])
            day = content["answered"]
            answered = None if day is None else datetime.date.fromisoformat(day)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path / _FILE}: damaged ({type(error).__name__})") from None
        return cls(path, letter, found, answered)

    def write(self) -> None:
        """Write it, for its owner alone."""
        content = {
            "version": _VERSION,
            "letter": self.letter.model_dump(mode="json"),
            "found": [vars(row) for row in self.found],
            "answered": None if self.answered is None else self.answered.isoformat(),
        }
        write_json(self.path / _FILE, content, private=True)

    @property
    def id(self) -> str:
        """Its name."""
        return self.path.name

    @property
    def run(self) -> Path:
        """The directory of its run."""
        return self.path / "run"

    @property
    def to_forget(self) -> list[Found]:
        """The records that are to be forgotten."""
        return [row for row in self.found if row.forget]

    @property
    def state(self) -> State:
        """What it is waiting for."""
        if self.answered is not None:
            return "answered"
        if (self.run / "result.json").is_file():
            return "to answer"
        if self.run.exists():
            return "interrupted"
        if any(row.forget is None for row in self.found):
            return "to review"
        return "to run" if self.to_forget else "to answer"

    def days_left(self, today: datetime.date) -> int | None:
        """Return the days until the deadline, below 0 if it has passed; None once it is answered."""
        return None if self.answered is not None else (self.letter.due - today).days

    def decided(self, forget: bool, which: Callable[[int, Found], bool]) -> "Request":
        """Return the request with a decision about some of the records.

        Args:
            forget: Whether they are to be forgotten.
            which: Says of a record, by its number from 1, whether the decision is about it.

        Raises:
            InputError: It has been run, or answered.
        """
        self.check_open()
        # A copy of a record, in another file too, is the same record.
        meant = {row.digest for number, row in enumerate(self.found, 1) if which(number, row)}
        rows = (replace(row, forget=forget) if row.digest in meant else row for row in self.found)
        return replace(self, found=tuple(rows))

    def check_open(self) -> None:
        """Raise ``InputError`` if what was found has already been acted upon."""
        if self.run.exists() or self.answered is not None:
            raise InputError(f"{self.id}: has been {'run' if self.run.exists() else 'answered'}; add another request")

    def searched_again(self) -> tuple["Request", list[Hit]]:
        """Return the request as the files are now, with what was decided about rows that are still there, and the hits.

        Raises:
            InputError: A file is missing or faulty.
        """
        known = {row.digest: row.forget for row in self.found}
        hits = search(self.letter)
        found = (Found(hit.where, hit.why, hit.digest, known.get(hit.digest)) for hit in hits)
        return replace(self, found=tuple(found)), hits

    def hits(self) -> list[Hit]:
        """Return the hits of a search, if they are still the records that were found, in the same order.

        Raises:
            InputError: A file is missing or faulty, or has changed since.
        """
        hits = search(self.letter)
        if [hit.digest for hit in hits] != [row.digest for row in self.found]:
            raise InputError(f"{self.id}: the files have changed since; `myosotis requests search` finds what is new")
        return hits

    def prepare(self) -> tuple[JobKind, Path, str | None]:
        """Write the records to forget, the rest, and the configuration of the job.

        The job starts from the model of the last request that was answered, and nobody else who asked to be forgotten
        is among the rest: neither comes back.

        Returns:
            The kind of job, the configuration, and the name of the request whose model it starts from, if any.

        Raises:
            InputError: Something is undecided, nothing is to be forgotten, the files have changed since, another
                request is damaged or between its run and its answer, or the job is of another kind or faulty.
        """
        undecided = sum(row.forget is None for row in self.found)
        if undecided:
            raise InputError(f"{self.id}: {undecided} of {len(self.found)} records are not reviewed")
        if not self.to_forget:
            raise InputError(f"{self.id}: nothing is to be forgotten, so there is no job; answer it")
        self.hits()
        others = [Request.read(self.path.parent / name) for name in request_names(self.path.parent) if name != self.id]
        before = self._model_of(others)
        kind, settings = self.configuration(before)
        going = {row.digest for row in self.to_forget}
        gone = {row.digest for other in others for row in other.to_forget} - going
        forget, rest = list[str](), list[str]()
        for _, row in rows_of(self.letter):
            digest = digest_of(row)
            if digest not in gone:
                (forget if digest in going else rest).append(json.dumps(row, ensure_ascii=False) + "\n")
        for name, rows in zip(_DATA, (forget, rest), strict=True):
            write_text(self.path / name, "".join(rows), private=True)
        path = self.path / "job.yaml"
        write_text(path, settings, private=True)
        return kind, path, None if before is None else before.id

    def _model_of(self, others: Sequence["Request"]) -> "Request | None":
        """The request whose model comes next: the last one with the same job that was answered, and did no harm."""
        alike = [other for other in others if other.letter.job == self.letter.job and other.run.exists()]
        for other in alike:
            if other.answered is None:
                raise InputError(f"{self.id}: starts from the model of request {other.id}, which is {other.state}")
        sound = []
        for other in alike:
            result = Run.read(other.run).result()
            if False not in (value_at(result, "verdict.forgotten"), value_at(result, "verdict.kept")):
                sound.append((str(result.get("finished")), other))
        return max(sound, key=lambda pair: pair[0], default=(None, None))[1]

    def configuration(self, before: "Request | None" = None) -> tuple[JobKind, str]:
        """Return the kind of the job, and its configuration for this request as YAML, with absolute paths.

        Args:
            before: Request whose model it starts from; None for the model of the job.

        Raises:
            InputError: The job is of another kind, teaches its model first, or is faulty.
        """
        template = Path(self.letter.job)
        if not template.is_file():
            line = f"myosotis init unlearn-language MODEL {shlex.quote(str(self.letter.files[0]))}"
            raise InputError(
                f"{template}: no such configuration; `{line} --out {shlex.quote(str(template))}` writes one"
            )
        kind = job_of(template)
        if kind.name not in _TARGETS:
            raise InputError(f"{template}: is a job '{kind.name}'; a request is carried out by {' or '.join(_TARGETS)}")
        given = read_settings(template)
        if given.get("fine_tune") is not None:
            raise InputError(f"{template}: a request is about a model that is trained already; leave 'fine_tune' out")
        data, model = ({} if given.get(key) is None else given[key] for key in ("data", "model"))
        if not isinstance(data, dict) or not isinstance(model, dict):
            raise InputError(f"{template}: expected settings below 'data' and below 'model'")
        forget, rest, source = _TARGETS[kind.name]
        data = {key: value for key, value in data.items() if key not in _OF_OTHERS}
        data |= {key: str(self.path.resolve() / name) for key, name in zip((forget, rest), _DATA, strict=True)}
        if before is not None:
            path = before.run if source == "learner" else before.run / "model"
            model = {**model, source: str(path.resolve())}
        request = {
            "id": self.id,
            "received": self.letter.received.isoformat(),
            "deadline": self.letter.due.isoformat(),
            "searched": [path.name for path in self.letter.files],
        }
        values = {"name": f"request-{self.id}", "request": request, "data": data, "model": model}
        overrides = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        return kind, dump_config(load_config(template, kind.schema(), overrides))

    def remove_data(self) -> list[str]:
        """Remove the records that were written for the job, and return the names of the files."""
        present = [name for name in _DATA if (self.path / name).is_file()]
        for name in present:
            (self.path / name).unlink()
        return present


def is_request(path: Path) -> bool:
    """Return whether a folder is that of a request."""
    return (path / _FILE).is_file()


def request_names(desk: Path) -> list[str]:
    """Return the names of the requests of a desk.

    Raises:
        InputError: There is no such folder.
    """
    if not desk.is_dir():
        raise InputError(f"{desk}: no such folder; the first `myosotis requests add` makes it")
    return sorted(path.name for path in desk.iterdir() if is_request(path))


def add_request(desk: Path, file: Path) -> tuple[Request, list[Hit]]:
    """Put a letter on a desk and search its files.

    Args:
        desk: Folder of the requests; made if it is not there.
        file: The letter.

    Returns:
        The request and what was found.

    Raises:
        InputError: The letter is faulty, its name is taken, or a file is missing or faulty; then nothing is written.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such letter; `myosotis requests add --help` shows one")
    letter = load_config(file, Letter)
    if letter.id is not None and (desk / letter.id).exists():
        raise InputError(f"{desk / letter.id}: already exists; another 'id' makes another request")
    name = letter.id or _free_name(desk, letter.received)
    request, hits = Request(desk / name, letter.model_copy(update={"id": name}), ()).searched_again()
    request.configuration()  # a job that could never run is refused before a month has passed
    desk.mkdir(parents=True, exist_ok=True)
    request.path.mkdir(mode=0o700)
    try:
        request.write()
    except OSError:
        request.path.rmdir()  # a full disk leaves no name that is taken by nothing
        raise
    return request, hits


def find_request(desk: Path, name: str) -> Request:
    """Return a request by its name.

    Raises:
        InputError: The desk has none of this name.
    """
    names = request_names(desk)
    if name not in names:
        raise InputError(f"{desk}: there is no request '{name}'" + (f"; there are {', '.join(names)}" if names else ""))
    return Request.read(desk / name)


def record_filter(words: Iterable[str], found: tuple[Found, ...]) -> Callable[[int, Found], bool]:
    """Return what says whether a record is meant by words: ``all``, a reason, a number or a range.

    Args:
        words: Such as ``["subject", "3", "5-8"]``.
        found: The records.

    Raises:
        InputError: A word is none of these, or a number is too large.

    Example:
        >>> found = tuple(Found("", why, "") for why in ("subject", "named", "part", "part"))
        >>> means = record_filter(["subject", "4"], found)
        >>> [means(number, row) for number, row in enumerate(found, 1)]
        [True, False, False, True]
    """
    numbers: set[int] = set()
    reasons: set[str] = set()
    for word in words:
        first, dash, last = word.partition("-")
        if word == "all":
            numbers |= set(range(1, len(found) + 1))
        elif word in REASONS:
            reasons.add(word)
        elif first.isdecimal() and (last.isdecimal() or not dash):
            low, high = int(first), int(last or first)
            if not 1 <= low <= high <= len(found):
                raise InputError(f"{word}: the records have numbers from 1 to {len(found)}")
            numbers |= set(range(low, high + 1))
        else:
            raise InputError(
                f"{word!r}: expected all, {', '.join(REASONS)}, a number such as 3, or a range such as 3-5"
            )
    return lambda number, row: number in numbers or row.why in reasons


def _free_name(desk: Path, received: datetime.date) -> str:
    number = 1
    while (desk / f"{received}-{number}").exists():
        number += 1
    return f"{received}-{number}"
