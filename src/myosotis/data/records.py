"""Text records: their forms, their sources, and checks of both."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields as fields_of
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.hub import hub_answers

MAX_CHARACTERS = 2**22
"""Letters of a record, and of its line in a file: more than any model reads, and some hundred bytes of memory each."""


@dataclass(frozen=True)
class Record:
    """One piece of text, in one of three forms: ``text``, ``prompt`` and ``response``, or chat ``messages``.

    Attributes:
        text: Document, of which every token counts.
        prompt: Question; its tokens do not count.
        response: Answer, of which every token counts.
        messages: Chat, of which the last message, which must be the assistant's, counts.
        facts: Parts of the response that hold the facts; if empty, all of it that is not copied from the prompt.
        subject: Subject of the record. Records of one subject are one unit for confidence intervals.
        alternate: Response that may replace a forgotten one.
        paraphrases: Other wordings of the prompt, for tests of residual knowledge.
    """

    text: str | None = None
    prompt: str | None = None
    response: str | None = None
    messages: tuple[Mapping[str, str], ...] = ()
    facts: tuple[str, ...] = ()
    subject: str | None = None
    alternate: str | None = None
    paraphrases: tuple[str, ...] = ()

    @property
    def content(self) -> str:
        """The record as one string, with white space and case normalised; equal records have equal content."""
        if self.text is not None:
            whole = self.text
        elif self.messages:
            whole = "\n".join(f"{message['role']}: {message['content']}" for message in self.messages)
        else:
            whole = f"{self.prompt}\n{self.response}"
        return " ".join(whole.split()).casefold()

    @property
    def answer(self) -> str:
        """The part that is learned or forgotten: the text, the response, or the assistant's last message."""
        return self.text or self.response or (self.messages[-1]["content"] if self.messages else "")


_KEYS = frozenset(field.name for field in fields_of(Record))


def parse_record(fields: Mapping[str, Any], where: str) -> Record:
    """Return a record from a row with the keys of one form; further keys are ignored, if they are no misspelt ones.

    Args:
        fields: Row.
        where: Name of the row in an error, e.g. ``forget.jsonl, line 3``.

    Raises:
        InputError: A key is missing, misspelt or holds the wrong type, or a fact is not part of the response.
    """
    misspelt = _misspelt(frozenset(map(str, fields)))
    if misspelt is not None:
        theirs, ours = misspelt
        raise InputError(f"{where}: '{theirs}' is not a key of a record; did you mean '{ours}'? else leave it out")
    extras: dict[str, Any] = {
        "facts": tuple(_strings(_listed(fields.get("facts")), f"{where}: 'facts'")),
        "subject": None if fields.get("subject") is None else str(fields["subject"]),
        "alternate": None if fields.get("alternate") is None else _string(fields, "alternate", where),
        "paraphrases": tuple(_strings(_listed(fields.get("paraphrases")), f"{where}: 'paraphrases'")),
    }
    if fields.get("messages") is not None:
        record = Record(messages=_messages(fields["messages"], where), **extras)
    elif fields.get("text") is not None:
        record = Record(text=_string(fields, "text", where), **extras)
    elif "prompt" in fields or "response" in fields:
        record = Record(prompt=_string(fields, "prompt", where), response=_string(fields, "response", where), **extras)
    else:
        raise InputError(f"{where}: expected the key 'text', or 'prompt' and 'response', or 'messages'")
    if any(fact not in record.answer for fact in record.facts):
        raise InputError(f"{where}: a string of 'facts' is not part of the text to learn or forget")
    return record


@lru_cache
def _misspelt(keys: frozenset[str]) -> tuple[str, str] | None:
    """A key that is nearly one that a record may have and does not, which would have been left unread; and that one."""
    for ours in ("facts", "subject", "alternate", "paraphrases"):
        if ours not in keys:
            by_form = {key.casefold(): key for key in keys - _KEYS}
            near = difflib.get_close_matches(ours, by_form, n=1, cutoff=0.85)
            if near:
                return by_form[near[0]], ours
    return None


def _string(fields: Mapping[str, Any], key: str, where: str) -> str:
    value = fields.get(key)
    if value is None:
        raise InputError(f"{where}: the key '{key}' is missing")
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: '{key}' must be a non-empty string")
    if len(value) > MAX_CHARACTERS:
        raise InputError(f"{where}: '{key}' is longer than the {MAX_CHARACTERS:,} characters of a record")
    return value


def _listed(value: Any) -> Any:
    """A single string as a list of one, nothing as a list of none."""
    return [value] if isinstance(value, str) else value or ()


def _strings(value: Any, where: str) -> Sequence[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise InputError(f"{where} must be a list of non-empty strings")
    return value


def _messages(value: Any, where: str) -> tuple[Mapping[str, str], ...]:
    valid = isinstance(value, list | tuple) and all(
        isinstance(item, Mapping) and isinstance(item.get("role"), str) and isinstance(item.get("content"), str)
        for item in value
    )
    if not valid or not value or value[-1]["role"] != "assistant" or not value[-1]["content"].strip():
        raise InputError(
            f"{where}: 'messages' must be a list of 'role' and 'content' that ends with an assistant message"
        )
    if sum(len(item["content"]) for item in value) > MAX_CHARACTERS:
        raise InputError(f"{where}: 'messages' is longer than the {MAX_CHARACTERS:,} characters of a record")
    return tuple({"role": item["role"], "content": item["content"]} for item in value)


Row = Mapping[str, Any]


def renamed(row: Row, fields: Mapping[str, str], where: str) -> dict[str, Any]:
    """Return a row of another layout with the values under our names too.

    Args:
        row: Row as it was read.
        fields: Names in the other layout by our names.
        where: Name of the row in an error.

    Raises:
        InputError: The row lacks a field.

    Example:
        >>> renamed({"question": "Who?"}, {"prompt": "question"}, "line 1")["prompt"]
        'Who?'
    """
    for theirs in fields.values():
        if theirs not in row:
            raise InputError(f"{where}: there is no field '{theirs}'")
    return {**row, **{ours: row[theirs] for ours, theirs in fields.items()}}


def read_jsonl(path: Path, fields: Mapping[str, str] | None = None) -> list[Record]:
    """Read one record per line; blank lines are ignored.

    Args:
        path: File of JSON lines.
        fields: Names in the file by our names, for files in another layout.

    Raises:
        InputError: The file is missing or empty, or a line is not JSON or not a record; the line is named.
    """
    return [parse_record(renamed(row, fields or {}, where), where) for where, row in read_jsonl_rows(path)]


def read_jsonl_rows(path: Path) -> list[tuple[str, Row]]:
    """Read the objects of a file of JSON lines, each with its name for errors.

    Raises:
        InputError: The file is missing or empty, or a line is not a JSON object; the line is named.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a directory; for a data set of the datasets library write {{dataset: {path}}}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    rows: list[tuple[str, Row]] = []
    # Windows writes a byte-order mark at the beginning, which is not part of the text.
    with path.open(encoding="utf-8-sig") as stream:
        try:
            for number, line in enumerate(iter(lambda: stream.readline(MAX_CHARACTERS + 1), ""), 1):
                if len(line) > MAX_CHARACTERS:
                    raise InputError(
                        f"{path}, line {number}: is longer than the {MAX_CHARACTERS:,} characters of a record"
                    )
                if line.strip():
                    where = f"{path}, line {number}"
                    rows.append((where, _parse_line(line, where, first=not rows)))
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not UTF-8 text") from None
    if not rows:
        raise InputError(f"{path}: holds no record")
    return rows


_EXPECTED = "expected one JSON object per line"
_OF_CSV = (
    "python -c 'import csv, json, sys; [print(json.dumps(row)) for row in csv.DictReader(sys.stdin{})]' "
    "< TABLE.csv > RECORDS.jsonl"
)


def _parse_line(line: str, where: str, *, first: bool) -> Row:
    if first and line.lstrip().startswith("["):
        raise InputError(f"{where}: {_EXPECTED}; this is a JSON array")
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        if first and line.strip() == "{":
            raise InputError(f"{where}: {_EXPECTED}; here an object spans several lines") from None
        if first and not line.lstrip().startswith("{") and ("," in line or "\t" in line):
            command = _OF_CSV.format("" if "," in line else ", delimiter=chr(9)")
            raise InputError(f"{where}: {_EXPECTED}; this looks like CSV, which becomes that by: {command}") from None
        # The decoder's message does not quote the line.
        raise InputError(f"{where}: is not JSON ({error.msg} at column {error.colno})") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply") from None
    if not isinstance(fields, dict):
        raise InputError(f"{where}: {_EXPECTED}, got {_JSON_NAMES[type(fields)]}")
    return fields


_JSON_NAMES = {
    list: "an array", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null"
}  # fmt: skip


def read_dataset_rows(name: str, split: str, subset: str | None = None) -> list[tuple[str, Row]]:
    """Read the rows of a ``datasets`` source, each with its name for errors.

    Raises:
        InputError: The data set or its split cannot be loaded, or holds no row.
    """
    require("language", "a data set of the datasets library")
    from datasets.exceptions import DatasetsError

    try:
        rows = _load_rows(name, split, subset)
    except InputError:
        raise
    except (FileNotFoundError, ConnectionError, KeyError, ValueError, RuntimeError, DatasetsError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"data set {name}, split {split}: cannot be loaded: {first_line}") from None
    named = [(f"data set {name}, row {number}", row) for number, row in enumerate(rows)]
    if not named:
        raise InputError(f"data set {name}, split {split}: holds no record")
    return named


def _load_rows(name: str, split: str, subset: str | None) -> list[Row]:
    """The rows of a source, without the copy that ``datasets`` would leave in its cache."""
    import datasets

    if (Path(name) / "dataset_info.json").is_file() or (Path(name) / "dataset_dict.json").is_file():
        loaded = datasets.load_from_disk(name)
        return list(loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded)
    if not Path(name).is_dir() and not hub_answers(f"datasets/{name}/resolve/main/README.md"):
        raise InputError(f"data set {name}: no such directory, and the hub cannot be reached to look it up")
    with TemporaryDirectory(prefix="myosotis-") as cache:  # readable by its owner alone
        # A directory is read in place; downloads are unpacked first.
        streaming = Path(name).is_dir()
        return list(datasets.load_dataset(name, subset, split=split, streaming=streaming, cache_dir=cache))
