"""What the jobs behind the commands have in common: checks before work, and work that is kept, timed and taken up."""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic

from myosotis.engine.checkpoint import is_complete
from myosotis.engine.config import ConfigT
from myosotis.engine.errors import InputError
from myosotis.engine.processes import wait_for_everyone
from myosotis.engine.run import Run

Say = Callable[[str], None]


class Job(ABC, Generic[ConfigT]):
    """One run of a command; :meth:`prepare` changes nothing on disk, :meth:`run` does the work.

    Args:
        config: With absolute paths.
        path: The run directory.
        resume: Continue an interrupted run.
        overwrite: Replace a run that is there.
        show_samples: Write what is to be forgotten into the run, for people to see.
        say: Takes one line at a time about what is going on.
    """

    _run: Run

    def __init__(
        self,
        config: ConfigT,
        path: Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        show_samples: bool = False,
        say: Say = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self._config = config
        self._path = path.resolve()
        self._resume, self._overwrite = resume, overwrite
        self._show_samples = show_samples
        self._say = say

    @abstractmethod
    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """

    def run(self) -> Run:
        """Do the work that is not done yet, and return the finished run, which no other job can write to meanwhile.

        Raises:
            InputError: What the user gave does not go together, seen only now.
        """
        try:
            return self.work()
        finally:
            if "_run" in vars(self):
                self._run.close()

    @abstractmethod
    def work(self) -> Run:
        """Do what :meth:`run` promises."""

    def _check_available(self, inputs: Iterable[str | None]) -> None:
        """Raise unless the run can be opened, and holds nothing that the job reads: overwriting would remove it."""
        Run.check_available(self._path, self._config, resume=self._resume, overwrite=self._overwrite)
        for name in inputs:
            if name is not None and Path(name).exists() and Path(name).resolve().is_relative_to(self._path):
                raise InputError(f"{self._path}: holds {name}, which the job reads; choose another --out")

    def _open(self, seed: int, *, private: bool = False) -> Run:
        options = {"resume": self._resume, "overwrite": self._overwrite, "private": private}
        self._run = Run.open(self._path, self._config, seed=seed, **options)
        return self._run

    def _finished_already(self, *, sealed_model: bool = False) -> bool:
        """Whether there is nothing left to do; raises where samples are wanted of a run that has none.

        Args:
            sealed_model: Whether ``model/`` of a finished run carries a manifest, which it must match.
        """
        if not self._run.finished:
            return False
        if sealed_model and not is_complete(self._run.path / "model"):
            raise InputError(
                f"{self._run.path}: is finished, but its model/ is damaged or incomplete; --overwrite makes it again"
            )
        if self._show_samples and not (self._run.path / "samples.json").is_file():
            raise InputError(f"{self._run.path}: is finished without samples; --overwrite makes it again with them")
        self._say(f"{self._run.path} is finished already")
        return True

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        """Add the time of a phase to what earlier sessions of the run spent on it."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self._seconds()
            seconds[phase] = seconds.get(phase, 0.0) + time.monotonic() - started
            self._run.keep("seconds.json", seconds)

    def _seconds(self) -> dict[str, float]:
        return dict(self._run.kept("seconds.json") or {})

    def _kept_or(self, name: str, make: Callable[[], Any]) -> Any:
        """Return an intermediate result as JSON gives it back, made first if it is not there yet."""
        kept = self._run.kept(f"{name}.json")
        # Every process looks before the first one writes, so that all of them go the same way.
        wait_for_everyone()
        if kept is None:
            self._run.keep(f"{name}.json", make())
            wait_for_everyone()
            kept = self._run.kept(f"{name}.json")
        return kept
