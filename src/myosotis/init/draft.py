"""First configurations: short, commented, and valid as they are."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELD_OUT = 0.2
"""Share of a set without test images that a draft holds out for the test."""


@dataclass(frozen=True)
class Draft:
    """A configuration that somebody can run and then change.

    Attributes:
        job: Kind of job.
        name: Name of the run.
        body: YAML below the head, with comments.
        remarks: What was noticed while looking at the data, one line each.
    """

    job: str
    name: str
    body: str
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The whole file."""
        head = [
            f"# Every key, its range and its default: myosotis schema {self.job}",
            *(f"# {remark}" for remark in self.remarks),
            f"job: {self.job}",
            f"name: {self.name}",
            "seed: 0",
        ]
        return "\n".join(head) + "\n\n" + self.body.strip() + "\n"


def run_name(*parts: str) -> str:
    """Return a name of a run made of words.

    Example:
        >>> run_name("forget", "holiday photos (2024)")
        'forget-holiday-photos-2024'
    """
    return re.sub(r"[^\w.]+", "-", "-".join(parts)).strip("-.")[:100] or "run"


def quoted(value: Any) -> str:
    """Return a value as YAML in one line: JSON, but for words that need no quotes.

    Example:
        >>> quoted("photos/cats"), quoted("no"), quoted(["a", "b c"]), quoted({"idx": "x"})
        ('photos/cats', '"no"', '[a, "b c"]', '{idx: x}')
    """
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z./][\w./-]*", value) and value.lower() not in _NOT_WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{quoted(key)}: {quoted(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return json.dumps(value)


_NOT_WORDS = ("no", "yes", "on", "off", "true", "false", "null", "y", "n")


def shown_path(path: Path, folder: Path, *, dotted: bool = False) -> str:
    """Return a path as a configuration in ``folder`` names it: relative below it, else absolute.

    Args:
        path: Path.
        folder: Folder of the configuration.
        dotted: Whether a relative path begins with ``./``, as the names of models do.
    """
    relative = os.path.relpath(path.resolve(), folder.resolve())
    if relative.startswith(".."):
        return str(path.resolve())
    # A name like '~old' is not somebody's home.
    needs_dot = (dotted and not relative.startswith(".")) or relative.startswith("~")
    return f"./{relative}" if needs_dot else relative


def task_sizes(classes: int, tasks: int = 5) -> tuple[int, int]:
    """Return the number of classes of the first task and of each later one, for about so many tasks.

    Example:
        >>> task_sizes(10), task_sizes(7), task_sizes(3), task_sizes(2)
        ((2, 2), (3, 1), (1, 1), (1, 1))
    """
    per_task = max(1, classes // tasks)
    later = min(tasks - 1, (classes - 1) // per_task)
    return classes - later * per_task, per_task
