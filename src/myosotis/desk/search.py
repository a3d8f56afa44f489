"""Search the records for a person: what bears a name, what says it, and what says a part of it. A human decides."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from myosotis.data.copies import words_of
from myosotis.data.records import Record, parse_record, read_jsonl_rows, renamed
from myosotis.desk.letter import Letter, Table

Why = Literal["subject", "named", "part"]
REASONS: dict[Why, str] = {
    "subject": "its subject has this name",
    "named": "the name stands in its text",
    "part": "a part of the name stands in it",
}
"""Reasons why a record may be about a person, the strongest first."""

_MIN_PART = 3


@dataclass(frozen=True)
class Hit:
    """A record that may be about a person.

    Attributes:
        where: File and line.
        why: Strongest reason.
        digest: SHA-256 of the row.
        texts: What it says: text, or question and answer, or messages.
    """

    where: str
    why: Why
    digest: str
    texts: tuple[str, ...]


def rows_of(letter: Letter) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every row of the files of a letter: file and line, and its fields by our names.

    Raises:
        InputError: A file is missing, empty or faulty.
    """
    for source, path in zip(letter.sources, letter.files, strict=True):
        fields = source.fields if isinstance(source, Table) else {}
        for where, row in read_jsonl_rows(path):
            yield where, renamed(row, fields, where)


def search(letter: Letter) -> list[Hit]:
    """Return the records that may be about the person of a letter, in the order of the files.

    Raises:
        InputError: A file is missing, empty or faulty, or a row is not a record.
    """
    names = [words_of(name) for name in letter.names]
    hits = []
    for where, row in rows_of(letter):
        record = parse_record(row, where)
        why = reason(record, names)
        if why is not None:
            hits.append(Hit(where, why, digest_of(row), _said(record)))
    return hits


def digest_of(row: dict[str, Any]) -> str:
    """Return the SHA-256 of a row, whatever the order of its fields."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def reason(record: Record, names: Sequence[tuple[str, ...]]) -> Why | None:
    """Return the strongest reason why a record may be about somebody; None if there is none.

    Case, punctuation and the form of Unicode make no difference. A part of a name has three letters or more, or is the
    whole name within a longer word, as before a Korean particle.

    Args:
        record: The record.
        names: Words of each name.

    Example:
        >>> names = [("ada", "quill")]
        >>> reason(Record(text="A. QUILL was born."), names), reason(Record(text="Nobody."), names)
        ('part', None)
    """
    if record.subject is not None and words_of(record.subject) in names:
        return "subject"
    texts = [words_of(text) for text in _texts(record)]
    if any(_holds(words, name) for words in texts for name in names):
        return "named"
    parts = {word for name in names for word in name if len(word) >= _MIN_PART}
    whole = ["".join(name) for name in names]
    if any(parts & set(words) or any(name in "".join(words) for name in whole) for words in texts):
        return "part"
    return None


def _said(record: Record) -> tuple[str, ...]:
    texts = (record.text, record.prompt, record.response, *(message["content"] for message in record.messages))
    return tuple(text for text in texts if text)


def _texts(record: Record) -> list[str]:
    further = (record.subject, record.alternate, *record.facts, *record.paraphrases)
    return [*_said(record), *(text for text in further if text)]


def _holds(words: Sequence[str], name: Sequence[str]) -> bool:
    return any(tuple(words[begin : begin + len(name)]) == tuple(name) for begin in range(len(words) - len(name) + 1))
