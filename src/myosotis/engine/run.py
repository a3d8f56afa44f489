"""The run directory: everything that a job leaves behind, and nothing outside it."""

import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from myosotis.engine.config import Config, dump_config
from myosotis.engine.environment import describe_environment
from myosotis.engine.errors import InputError
from myosotis.engine.files import publish, write_json, write_text
from myosotis.engine.processes import is_main_process, wait_for_everyone

RESULT_SCHEMA_VERSION = 1
"""Raised whenever a key of result.json changes its meaning or goes away."""

_SALT = "fingerprint-salt.txt"

_MARKS = ("config.yaml", "environment.json", _SALT)
"""The files that tell a run directory from any other."""


class Run:
    """One run directory, opened for writing by :meth:`open` or for reading by :meth:`read`.

    ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/``, ``model/``, ``result.json`` and
    ``report.html`` lie in it. A run is finished when ``result.json`` is there. Where several processes work at one
    run, only the main one writes; the methods may be called by all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writes = is_main_process()

    @classmethod
    def check_available(cls, path: Path, config: Config, *, resume: bool = False, overwrite: bool = False) -> None:
        """Raise ``InputError`` unless :meth:`open` would succeed; changes nothing."""
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        if not path.exists():
            parent = next(folder for folder in path.resolve().parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise InputError(f"{path}: {parent} is not a directory that can be written to")
            return
        is_run = path.is_dir() and all((path / name).is_file() for name in _MARKS)
        if overwrite:
            if not is_run and not (path.is_dir() and not any(path.iterdir())):
                raise InputError(f"{path}: exists and is not a run directory, so it will not be overwritten")
            if Path.cwd().is_relative_to(path.resolve()):
                raise InputError(f"{path}: is the working directory or holds it, so it will not be overwritten")
            return
        if not resume:
            raise InputError(f"{path}: exists already; --resume continues it, --overwrite starts it anew")
        if not is_run:
            raise InputError(f"{path}: is not a run directory, so there is nothing to resume")
        started, wanted = (
            {key: value for key, value in one.items() if key not in config.without_effect}
            for one in (yaml.safe_load((path / "config.yaml").read_text("utf-8")), config.model_dump(mode="json"))
        )
        difference = _first_difference(started, wanted)
        if difference:
            raise InputError(f"{path}: was started with another configuration: {difference}")

    @classmethod
    def open(cls, path: Path, config: Config, *, seed: int, resume: bool = False, overwrite: bool = False) -> "Run":
        """Create a run directory, or take up one that was interrupted.

        Args:
            path: The directory.
            config: The resolved configuration, written as ``config.yaml``.
            seed: Written into ``environment.json``.
            resume: Continue the run at ``path`` with the same configuration; a run that is not there yet is started.
            overwrite: Remove a run that is there.

        Raises:
            InputError: The directory exists and neither option allows for it, or the configuration differs.
        """
        cls.check_available(path, config, resume=resume, overwrite=overwrite)
        wait_for_everyone()
        if is_main_process() and not (path.exists() and resume):
            path.parent.mkdir(parents=True, exist_ok=True)
            place = path.resolve()
            staged = place.with_name(f".{place.name}.partial")
            if staged.exists():
                shutil.rmtree(staged)
            (staged / "checkpoints").mkdir(parents=True)
            write_text(staged / "config.yaml", dump_config(config))
            write_json(staged / "environment.json", describe_environment(seed))
            write_text(staged / _SALT, secrets.token_hex(16))
            (staged / _SALT).chmod(0o600)
            publish(staged, place)
        wait_for_everyone()
        return cls(path)

    @classmethod
    def read(cls, path: Path) -> "Run":
        """Open a finished run.

        Raises:
            InputError: There is no run, or it is not finished, or a later version of the package wrote it.
        """
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path}: is not a run directory")
        run = cls(path)
        if not run.finished:
            raise InputError(f"{path}: this run is not finished; --resume continues it")
        version = run.result().get("schema_version")
        if version != RESULT_SCHEMA_VERSION:
            raise InputError(f"{path}/result.json: schema version {version}, expected {RESULT_SCHEMA_VERSION}")
        return run

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Record what a run reads, or, when it is taken up again, refuse it if that has changed.

        Args:
            inputs: JSON-ready names of data and models that reveal nothing: fingerprints, hashes.

        Raises:
            InputError: The run was started with something else.
        """
        known = self.kept("inputs.json")
        wait_for_everyone()
        if known is None:
            self.keep("inputs.json", dict(inputs))
            return
        changed = [name for name in inputs if known.get(name) != inputs[name]]
        if changed:
            raise InputError(f"{self.path}: was started with other input: {', '.join(changed)} changed since")

    @property
    def finished(self) -> bool:
        """Whether ``result.json`` is there."""
        return (self.path / "result.json").is_file()

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def learners(self) -> Path:
        """The directory of what a continual learner was after each task, where it was kept."""
        return self.path / "learners"

    @property
    def salt(self) -> str:
        """The salt of the fingerprints. Who holds it can tell whether a given text was in the data; keep it private."""
        return (self.path / _SALT).read_text(encoding="utf-8").strip()

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl`` and flush it."""
        if not self._writes:
            return
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(event)) + "\n")

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a last line torn by a kill is left out."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        whole, _, _torn = path.read_text(encoding="utf-8").rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the events that ``keep`` refuses: those after the checkpoint that a resumed run goes back to."""
        if self._writes:
            kept = [event for event in self.events() if keep(event)]
            write_text(self.path / "metrics.jsonl", "".join(json.dumps(event) + "\n" for event in kept))

    def keep(self, name: str, content: Any) -> None:
        """Write an intermediate result, as JSON, below ``checkpoints``."""
        if self._writes:
            write_json(self.checkpoints / name, content)

    def kept(self, name: str) -> Any | None:
        """Return an intermediate result, or None if it is not there yet."""
        path = self.checkpoints / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def result(self) -> dict[str, Any]:
        """Return the content of ``result.json``."""
        content = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise InputError(f"{self.path}/result.json: not a result")
        return content

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write ``result.json`` with its schema version; the run is finished then."""
        if self._writes:
            write_json(self.path / "result.json", {"schema_version": RESULT_SCHEMA_VERSION, **result})
        wait_for_everyone()


def _first_difference(old: Any, new: Any, key: str = "") -> str | None:
    """Name the first setting in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*new, *(name for name in old if name not in new)]:
            found = _first_difference(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
            if found:
                return found
        return None
    return None if old == new else f"{key} was {old!r}, is now {new!r}"
