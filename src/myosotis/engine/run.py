"""The run directory, which holds everything that a job writes."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from myosotis.engine.checkpoint import sealed_directory
from myosotis.engine.config import Config
from myosotis.engine.digests import DIGESTS, check_digests, content_digest, record_digests
from myosotis.engine.environment import now
from myosotis.engine.errors import InputError
from myosotis.engine.events import EventLog
from myosotis.engine.files import make_private, read_json, to_json, write_json, write_text
from myosotis.engine.lock import acquire, check_unlocked, release
from myosotis.engine.processes import is_main_process, wait_for_everyone
from myosotis.engine.result import RESULT_SCHEMA_VERSION, Result
from myosotis.engine.run_directory import (
    MARKS,
    SALT,
    aside_of,
    check_overwrite,
    clear_staged_files,
    first_difference,
    is_removable,
    is_run,
    read_config,
    recover_run,
    runs_of_name,
    stage_run,
    take_name,
)

_WRITTEN_LATER = frozenset({DIGESTS, "audit.json", "probe.json"})
"""Files that are written after the result, or vouch for themselves; so are pages and studies."""

_REMOVABLE = frozenset({SALT, "samples.json", "stream.json"})
"""Files that reveal something, which a user may remove from a finished run."""

OnEvent = Callable[[Mapping[str, object]], None]

_log = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Result)


class Run:
    """One run directory, opened for writing by :meth:`open` or for reading by :meth:`read`.

    ``config.yaml``, ``environment.json``, ``metrics.jsonl``, ``checkpoints/``, ``model/``, ``result.json`` and
    ``report.html`` lie in it. A run is finished when ``result.json`` is there. Where several processes work at one
    run, only the main one writes; the methods may be called by all. From :meth:`open` to :meth:`close`, or to the end
    of the process, no other job can write to the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._writes = is_main_process()
        self._events = EventLog(self.path / "metrics.jsonl", self.checkpoints / "metrics.sha256")
        self.on_event: OnEvent | None = None
        """Called with every event after it was written."""

    @classmethod
    def check_available(cls, path: Path, config: Config, *, resume: bool = False, overwrite: bool = False) -> None:
        """Raise ``InputError`` unless :meth:`open` would succeed; changes nothing."""
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other")
        path = path.resolve()
        if is_main_process():
            check_unlocked(path)
        aside = aside_of(path)
        if os.path.lexists(aside) and not is_removable(aside):
            raise InputError(f"{aside}: is not a run directory, and its name is needed here; move it away")
        # An overwriting that was cut short left the old run under this name; it is put back before anything else.
        present = path if path.exists() or not is_run(aside) else aside
        if not present.exists():
            parent = next(folder for folder in path.parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK):
                raise InputError(f"{path}: {parent} is not a writable directory")
            return
        if overwrite:
            check_overwrite(path, present)
            return
        if not is_run(present):
            raise InputError(f"{path}: already exists and is not a run directory; --out names another one")
        if not resume:
            raise InputError(f"{path}: already exists; --resume continues it, --overwrite restarts it")
        _check_files(present)
        started, expected = (
            {key: value for key, value in settings.items() if key not in config.without_effect}
            for settings in (read_config(present), config.model_dump(mode="json"))
        )
        difference = first_difference(started, expected)
        if difference:
            raise InputError(f"{path}: was started with another configuration: {difference}")

    @classmethod
    def open(
        cls,
        path: Path,
        config: Config,
        *,
        seed: int,
        resume: bool = False,
        overwrite: bool = False,
        private: bool = False,
    ) -> "Run":
        """Create a run directory, or continue one that was interrupted, and lock it.

        Args:
            path: The directory. It is resolved once, before every check, and only the resolved path is used.
            config: The resolved configuration, written as ``config.yaml``.
            seed: Written into ``environment.json``.
            resume: Continue the run at ``path`` with the same configuration; a run that is not there yet is started.
            overwrite: Replace a run that is there: it is moved aside, the new one takes its name, and only then is the
                old one removed. Nothing but a run directory is ever replaced.
            private: Whether only the owner may enter a new run directory.

        Raises:
            InputError: The directory exists and neither option allows for it, the configuration differs, or another
                process is at work in it.
        """
        path = path.resolve()
        cls.check_available(path, config, resume=resume, overwrite=overwrite)
        wait_for_everyone()
        if is_main_process():
            path.parent.mkdir(parents=True, exist_ok=True)
            acquire(path)
            try:
                # Again, as another process may have come between the check and the lock.
                cls.check_available(path, config, resume=resume, overwrite=overwrite)
                recover_run(path)
                clear_staged_files(path)
                if not (resume and path.exists()):
                    staged = stage_run(path, config, seed)
                    if private:
                        staged.chmod(0o700)
                    take_name(path, staged)
            except BaseException:
                release(path)
                raise
        wait_for_everyone()
        return cls(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other jobs from writing to a finished run while something is added to it.

        Raises:
            InputError: Another process is at work in it.
        """
        if self._writes:
            acquire(self.path)
        try:
            yield
        finally:
            self.close()

    def attempts(self) -> int:
        """Return how many runs of this name are known: this one, those that it overwrote, and those next to it.

        The best of several runs looks better than a single one, so a report says how many there were.
        """
        name, parent = self.settings().get("name"), self.path.parent
        others = parent.iterdir() if os.access(parent, os.R_OK) else ()
        return sum(runs_of_name(path, name) for path in {self.path, *others})

    def close(self) -> None:
        """Let other processes write to the run again; called at the end of a job, however it ends."""
        if self._writes:
            release(self.path)

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
        check_digests(run.path, removable=_REMOVABLE)
        return run

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Record what a run reads; when it is resumed, refuse it if that has changed.

        Args:
            inputs: JSON-ready names of data and models that reveal nothing: fingerprints, hashes.

        Raises:
            InputError: The run was started with something else.
        """
        known = self.kept("inputs.json")
        if known is None and (self.checkpoints / "inputs.json").exists():
            raise InputError(
                f"{self.checkpoints / 'inputs.json'}: damaged, so it is not known whether the run is continued with "
                "the same input; --overwrite restarts it"
            )
        wait_for_everyone()
        if known is None:
            self.keep("inputs.json", dict(inputs))
            return
        changed = changed_inputs(known, inputs)
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
        """The salt of the fingerprints. It shows whether a given text was in the data, so it is taken from others."""
        if self._writes:
            make_private(self.path / SALT)
        salt = (self.path / SALT).read_bytes().strip()
        if len(salt) != 32 or set(salt) - set(b"0123456789abcdef"):
            raise InputError(f"{self.path / SALT}: damaged, so no fingerprint of the run can be checked")
        return salt.decode()

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl`` and flush it; NaN and infinity are written as null."""
        if self._writes:
            self._events.append(event)
            if self.on_event is not None:
                self.on_event(event)

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a last line torn by a crash is left out.

        Raises:
            InputError: Another line is damaged.
        """
        return self._events.read()

    def rewind(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the events that ``keep`` refuses: those after the checkpoint that a resumed run goes back to."""
        if self._writes:
            self._events.rewind(keep)

    def keep(self, name: str, content: Any) -> None:
        """Write an intermediate result, as JSON with its digest, below ``checkpoints``."""
        if self._writes:
            content = json.loads(to_json(content, name))  # as it will be read: keys are strings
            write_json(self.checkpoints / name, {"sha256": content_digest(content), "content": content})

    def kept(self, name: str) -> Any | None:
        """Return an intermediate result; None if it is not there yet or is damaged, which is logged."""
        path = self.checkpoints / name
        if not path.is_file():
            return None
        try:
            stored = read_json(path)
        except InputError:
            stored = None
        if not isinstance(stored, dict) or stored.get("sha256") != content_digest(stored.get("content")):
            _log.warning("%s: damaged, so it is not used", path)
            return None
        return stored["content"]

    def stored_or(self, name: str, make: Callable[[], Any]) -> Any:
        """Return an intermediate result as it is read from JSON; it is computed first if no session has done so yet."""
        result = self.kept(f"{name}.json")
        # Every process reads before the first one writes, so that all of them take the same branch.
        wait_for_everyone()
        if result is None:
            self.keep(f"{name}.json", make())
            wait_for_everyone()
            result = self.kept(f"{name}.json")
        return result

    @contextlib.contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the time of a phase to the time that earlier sessions of the run spent on it."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds()
            seconds[phase] = seconds.get(phase, 0.0) + time.monotonic() - started
            self.keep("seconds.json", seconds)

    def seconds(self) -> dict[str, float]:
        """Return the time of each phase so far, over all sessions."""
        return dict(self.kept("seconds.json") or {})

    def publish(self, write: Callable[[Path], None], name: str = "model") -> None:
        """Let ``write`` fill a directory of the run, which appears complete and with a manifest, or not at all."""
        if self._writes:
            with sealed_directory(self.path / name) as staged:
                write(staged)
        wait_for_everyone()

    def settings(self) -> dict[str, Any]:
        """Return the configuration that the run was made with, from ``config.yaml``.

        Raises:
            InputError: The file does not hold one.
        """
        return read_config(self.path)

    def result(self) -> dict[str, Any]:
        """Return the content of ``result.json``."""
        content = read_json(self.path / "result.json")
        if not isinstance(content, dict):
            raise InputError(f"{self.path}/result.json: damaged: not a result")
        return content

    def result_as(self, model: type[ResultT]) -> ResultT:
        """Return the result as the model of its kind.

        Raises:
            InputError: It is not of this kind, or was written by another version.
        """
        try:
            return model.model_validate_json((self.path / "result.json").read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "as a whole"
            message = f"{where}: {first['msg']}; it is of another kind, or another version wrote it"
            raise InputError(f"{self.path}/result.json: {message}") from None

    def finish(self, result: Mapping[str, Any], schema: type[Result] | None = None) -> None:
        """Write ``result.json`` with its schema version, start and end in RFC 3339; the run is finished then.

        Args:
            result: The result; its parts may be models.
            schema: Model that it must match.

        Raises:
            pydantic.ValidationError: It does not, which is a fault of the program.
        """
        if self._writes:
            started = read_json(self.path / "environment.json").get("started")
            head = {"schema_version": RESULT_SCHEMA_VERSION, "started": started, "finished": now(), "request": None}
            content = {**head, "operator": None, **result}
            if schema is not None:
                content = schema.model_validate(content).model_dump(mode="json")
            text = to_json(content, "result.json", indent=2) + "\n"
            contents = {path.name: path.read_bytes() for path in self.path.iterdir() if _is_final(path)}
            record_digests(self.path, {**contents, "result.json": text.encode()})
            write_text(self.path / "result.json", text)
        wait_for_everyone()


def _is_final(path: Path) -> bool:
    """Whether an entry of a run that is about to be finished is a file that stays as it is."""
    hidden_or_page = path.name.startswith(".") or path.suffix == ".html"
    return path.is_file() and not hidden_or_page and path.name not in _WRITTEN_LATER and "study.db" not in path.name


def _check_files(run: Path) -> None:
    """Raise ``InputError`` if a run to be resumed is damaged: what it began with, or whatever a finished one holds."""
    if (run / "result.json").exists():
        check_digests(run, removable=_REMOVABLE)
    else:
        check_digests(run, frozenset(MARKS), removable=frozenset())
        Run(run).events()


def changed_inputs(known: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """Return the names of inputs that are not what they were.

    Args:
        known: What they were, by name; one that is not asked for any more does not matter.
        inputs: What they are.

    Example:
        >>> changed_inputs({"train images": "a"}, {"train images": "a", "weights": "b"})
        ['weights']
    """
    return [name for name in inputs if known.get(name) != inputs[name]]
