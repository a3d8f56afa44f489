"""A run directory on disk: recognised, made whole under a hidden name, and replaced so that nothing is ever lost."""

import contextlib
import secrets
import shutil
from pathlib import Path
from typing import Any

import yaml

from myosotis.engine.config import Config, dump_config
from myosotis.engine.digests import DIGESTS, record_digests
from myosotis.engine.environment import describe_environment
from myosotis.engine.errors import InputError
from myosotis.engine.files import flush, hidden_name, read_json, write_json, write_text
from myosotis.engine.yaml_text import parse_yaml

SALT = "fingerprint-salt.txt"

MARKS = ("config.yaml", "environment.json", SALT)
"""Files by which a run directory is recognised."""

ENTRIES = frozenset(
    {
        *MARKS,
        *("audit.json", "checkpoints", DIGESTS, "learners", "map.json", "metrics.jsonl", "model", "panels.safetensors"),
        *("partition.json", "person.html", "probe.html", "probe.json", "report.html", "result.json", "samples.json"),
        *("pictures.json", "shadow", "stream.json", "weights.json"),
        *("study.db", "study.db-journal", "study.db-shm", "study.db-wal", "trackers"),
    }
)
"""What jobs write into a run directory, beside hidden entries. Anything else is the user's and is never removed."""


def is_run(path: Path) -> bool:
    """Return whether this is a run directory."""
    return path.is_dir() and all((path / name).is_file() for name in MARKS)


def is_removable(path: Path) -> bool:
    """Whether a directory is a run moved aside, or what an interrupted removal left of one."""
    if path.is_symlink() or not path.is_dir():
        return False
    return is_run(path) or {entry.name for entry in path.iterdir()} <= set(MARKS)


def aside_of(path: Path) -> Path:
    """Where a run goes while its successor takes its name."""
    return path.with_name(f".{path.name}.replaced")


def check_overwrite(path: Path, present: Path) -> None:
    """Raise ``InputError`` unless ``present`` may be removed for a new run at ``path``."""
    if not is_run(present) and not (present.is_dir() and not any(present.iterdir())):
        raise InputError(f"{path}: exists and is not a run directory, so it will not be overwritten")
    if Path.cwd().is_relative_to(path):
        raise InputError(f"{path}: is the working directory or holds it, so it will not be overwritten")
    foreign = sorted(
        entry.name for entry in present.iterdir() if entry.name not in ENTRIES and not is_leftover(entry.name)
    )
    if foreign:
        raise InputError(f"{path}: holds {foreign[0]!r}, which no job wrote; move it away before --overwrite")


def is_leftover(name: str) -> bool:
    """Whether this is the hidden name of something that a job had not finished writing."""
    return name.startswith(".") and (".partial" in name or ".old-" in name or ".staging" in name)


def recover_run(path: Path) -> None:
    """Finish, or take back, an overwriting that was cut short, and clear what was staged."""
    aside = aside_of(path)
    if aside.is_dir():
        if path.exists():
            remove(aside)
        else:
            aside.rename(path)
    for staged in path.parent.iterdir():
        if (
            staged.name.startswith(f".{path.name[:60]}.partial-")
            and (staged.is_dir() and not staged.is_symlink())
            and all(entry.name in ENTRIES or is_leftover(entry.name) for entry in staged.iterdir())
        ):
            shutil.rmtree(staged)


def clear_staged_files(run: Path) -> None:
    """Remove the files that a killed job was writing; they have no name yet, so nothing ever reads them."""
    for folder in (run, run / "checkpoints", run / "model"):
        for file in folder.glob(".*.partial-*") if folder.is_dir() else ():
            if file.is_file() or file.is_symlink():
                file.unlink()


def stage_run(path: Path, config: Config, seed: int) -> Path:
    """Write a new run directory under a hidden name."""
    staged = hidden_name(path, "partial")
    staged.mkdir()
    (staged / "checkpoints").mkdir()
    write_text(staged / "config.yaml", dump_config(config))
    write_json(staged / "environment.json", {**describe_environment(seed), "overwritten": overwritten(path)})
    write_text(staged / SALT, secrets.token_hex(16), private=True)
    record_digests(staged, {name: (staged / name).read_bytes() for name in MARKS})
    flush(staged)
    return staged


def runs_of_name(path: Path, name: Any) -> int:
    """Runs of a name that stand or stood at a path; none where it cannot be read, as it may be somebody else's."""
    try:
        if not is_run(path) or read_config(path).get("name") != name:
            return 0
        return 1 + int(read_json(path / "environment.json").get("overwritten", 0))
    except (OSError, InputError):
        return 0


def overwritten(path: Path) -> int:
    """How many runs stood at a path before the one that now takes it."""
    return 1 + int(read_json(path / "environment.json").get("overwritten", 0)) if is_run(path) else 0


def take_name(path: Path, staged: Path) -> None:
    """Give a new run directory its name; the old one, which may be overwritten, is removed last."""
    aside = aside_of(path)
    if is_run(path):
        path.rename(aside)
    # A directory with anything in it is never replaced by a rename: this fails if the path was taken meanwhile.
    staged.rename(path)
    flush(path.parent)
    if aside.is_dir():
        remove(aside)


def remove(run: Path) -> None:
    """Remove a run directory, its marks last, so that what an interruption leaves is recognised."""
    for entry in run.iterdir():
        if entry.name in MARKS:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    for name in MARKS:
        with contextlib.suppress(FileNotFoundError):
            (run / name).unlink()
    run.rmdir()


def read_config(run: Path) -> dict[str, Any]:
    """Read the configuration that a run was started with."""
    try:
        content = parse_yaml((run / "config.yaml").read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{run / 'config.yaml'}: damaged, so the settings of the run are not known")
    return content


def first_difference(old: Any, new: Any, key: str = "") -> str | None:
    """Name the first setting in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            difference = first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
            if difference:
                return difference
        return None
    return None if old == new else f"{key} was {old!r}, is now {new!r}"
