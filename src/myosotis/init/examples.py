"""The examples that come with the package: configurations of every kind of job, and the files that they read."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from myosotis.engine.errors import InputError

_JOB = re.compile(r"^job: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Example:
    """A configuration of the package.

    Attributes:
        name: Name, which is that of its file without the ending.
        job: Kind of job.
        summary: First sentence of its comment.
        path: File.
    """

    name: str
    job: str
    summary: str
    path: Path


def examples_folder() -> Path:
    """Return the folder of the examples."""
    return Path(str(files("myosotis"))) / "examples"


def list_examples() -> list[Example]:
    """Return the examples, sorted by kind and name.

    Example:
        >>> next(example.job for example in list_examples() if example.name == "learn-fashion")
        'learn-classes'
    """
    folder = examples_folder()
    texts = {path: path.read_text("utf-8") for path in folder.rglob("*.yaml")}
    examples = [_read(folder, path, text, job[1]) for path, text in texts.items() if (job := _JOB.search(text))]
    return sorted(examples, key=lambda example: (example.job, example.name))


def _read(folder: Path, path: Path, text: str, job: str) -> Example:
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() == "#" or not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    summary = " ".join(lines).partition(". ")[0].rstrip(".:")
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Example(name, job, summary, path)


def copy_example(example: Example, inputs: Sequence[str], folder: Path) -> list[Path]:
    """Copy an example, and what it reads of the package's files, into a folder.

    Args:
        example: Example.
        inputs: Paths that its configuration names; those outside the package are left where they are.
        folder: Folder to copy to, which must exist.

    Returns:
        The copies; the configuration is the first.

    Raises:
        InputError: The folder is missing, or has one of the files already; nothing is copied then.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory")
    own = [Path(path) for path in inputs if Path(path).is_relative_to(example.path.parent)]
    copies = {example.path: folder / example.path.name}
    copies |= {path: folder / path.relative_to(example.path.parent) for path in own if path.is_file()}
    present = next((copy for copy in copies.values() if copy.exists()), None)
    if present is not None:
        raise InputError(f"{present}: already exists; choose another folder with --out")
    for path, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return list(copies.values())
