"""The lines of ``metrics.jsonl``, each with a digest beside it until the run is finished."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text

Event = dict[str, Any]


class EventLog:
    """A file of events, one line of JSON each, and a file of their digests, one line each.

    A line is written before its digest. What a crash tears is the last line of either file, which is left out, or
    leaves lines without a digest, which are believed. A line that differs from its digest, or a digest without a line,
    is damage.

    Args:
        path: The events.
        digests: The digests.
    """

    def __init__(self, path: Path, digests: Path) -> None:
        self._path, self._digests = path, digests
        self._appends = False

    def append(self, event: Mapping[str, Any]) -> None:
        """Write one line and flush it; NaN and infinity are written as null."""
        if not self._appends:
            self._write_digests(self._lines())
            _cut_unfinished_line(self._path)
            self._appends = True
        line = json.dumps(_finite(dict(event)), allow_nan=False)
        for path, text in ((self._path, line), (self._digests, _digest(line.encode()))):
            with path.open("a", encoding="utf-8") as stream:
                stream.write(f"{text}\n")

    def read(self) -> list[Event]:
        """Return the events.

        Raises:
            InputError: A line is damaged.
        """
        return [self._parsed(number, line) for number, line in enumerate(self._lines(), start=1)]

    def rewind(self, keep: Callable[[Event], bool]) -> None:
        """Drop the events that ``keep`` refuses."""
        lines = [json.dumps(event, allow_nan=False) for event in self.read() if keep(event)]
        # Without digests, whichever lines a crash leaves are believed.
        self._digests.unlink(missing_ok=True)
        write_text(self._path, "".join(f"{line}\n" for line in lines))
        self._write_digests([line.encode() for line in lines])

    def _lines(self) -> list[bytes]:
        """The complete lines, each checked if it has a digest."""
        lines = _complete_lines(self._path)
        digests = _complete_lines(self._digests)
        for number, digest in enumerate(digests, start=1):
            if number > len(lines) or _digest(lines[number - 1]).encode() != digest:
                raise InputError(
                    f"{self._path}, line {number}: damaged: not what {self._digests} says; --overwrite restarts the run"
                )
        return lines

    def _write_digests(self, lines: list[bytes]) -> None:
        write_text(self._digests, "".join(f"{_digest(line)}\n" for line in lines))

    def _parsed(self, number: int, line: bytes) -> Event:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            raise InputError(f"{self._path}, line {number}: damaged: not an event")
        return event


def _digest(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _complete_lines(path: Path) -> list[bytes]:
    """The lines of a file but a last one that a crash tore."""
    return path.read_bytes().split(b"\n")[:-1] if path.is_file() else []


def _cut_unfinished_line(path: Path) -> None:
    """Remove a last line that a crash tore, so that the next one is not appended to it."""
    if path.is_file():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


def _finite(value: Any) -> Any:
    """The value with None in place of NaN and infinity, for which JSON has no word."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
