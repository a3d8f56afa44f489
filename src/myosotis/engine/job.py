"""The template of all jobs: check, open the run, work, publish, write the result.

``myosotis run`` makes a job of a configuration and a path, calls :meth:`Job.prepare`, which reads and checks everything
and writes nothing, and then :meth:`Job.run`. That opens the run directory, so that no other job writes to it; compares
the inputs with those that an interrupted session had; and calls :meth:`Job.produce`, which asks the run for what
earlier sessions have done (:meth:`~myosotis.engine.run.Run.stored_or`), times each phase, publishes ``model/`` whole or
not at all, and returns the result. The run writes it as the model :attr:`Job.Result`, last of all: a run that has a
``result.json`` is finished.

    job = ClassLearningJob(load_config(ClassLearningConfig, path), Path("runs/a"))
    job.prepare()
    run = job.run()
    run.result_as(ClassResult).metrics.final_accuracy

Two things must not change: a job that was killed at any moment and resumed ends with the figures of one that was not,
and nothing is written outside the run.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

from myosotis.engine.checkpoint import is_complete
from myosotis.engine.config import ConfigT, flatten, local_paths
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import InputError
from myosotis.engine.forecast import Phase
from myosotis.engine.processes import is_main_process
from myosotis.engine.progress import say
from myosotis.engine.result import Result
from myosotis.engine.run import OnEvent, Run
from myosotis.engine.tracking import Trackers, check_trackers

Say = Callable[[str], None]


class Job(ABC, Generic[ConfigT]):
    """One run of a job; :meth:`prepare` changes nothing on disk, :meth:`run` does the work.

    A job is a subclass with :attr:`kind`, :meth:`prepare`, :meth:`inputs` and :meth:`produce`.

    Args:
        config: Configuration with absolute paths, as :func:`~myosotis.engine.config.load_config` returns it.
        path: Run directory.
        resume: Continue an interrupted run.
        overwrite: Replace an existing run.
        show_samples: Write what is to be forgotten into the run, for people to see.
        say: Receives one line at a time about what is going on.
        on_event: Receives every event of ``metrics.jsonl``, in the main process; what it raises ends the job, which can
            be resumed.
    """

    kind: ClassVar[str]
    """Kind of the result, e.g. ``"learn-classes"``."""
    Result: ClassVar[type[Result]]
    """Model of the result."""
    private: ClassVar[bool] = False
    """Whether only the owner may enter the run."""
    sealed_model: ClassVar[bool] = True
    """Whether a finished run has a ``model/`` with a manifest, which must match it."""

    _run: Run
    _trackers: Trackers | None = None
    _started: float

    def __init__(
        self,
        config: ConfigT,
        path: Path,
        *,
        resume: bool = False,
        overwrite: bool = False,
        show_samples: bool = False,
        say: Say = say,
        on_event: OnEvent | None = None,
    ) -> None:
        self._config = config
        self._path = path.resolve()
        self._resume, self._overwrite = resume, overwrite
        self._show_samples = show_samples
        self._say = say
        self._on_event = on_event

    @abstractmethod
    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """

    @abstractmethod
    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return salted fingerprints and hashes of everything that the result depends on beside the configuration.

        Args:
            salt: Salt of the fingerprints.
        """

    @abstractmethod
    def produce(self) -> Mapping[str, Any]:
        """Do the work that is not done yet, publish what it made, and return the result without its head.

        ``lineage`` and ``cost`` (see :meth:`cost`) are among its keys.
        """

    def phases(self) -> Sequence[Phase]:
        """Return the parts of the work that take the time, to forecast it after :meth:`prepare`.

        Steps are those of the network alone: what a method computes beside it, and audits by generation, come on top.
        """
        return ()

    def overlap(self) -> Sequence[str]:
        """Return lines that say how near what is to be forgotten is to what is to be kept, after :meth:`prepare`.

        They hold counts, numbers of records and names of classes, and nothing of what is to be forgotten.
        """
        return ()

    def clean_up(self) -> None:
        """Remove what a finished run does not need. By default there is nothing to remove."""

    def run(self) -> Run:
        """Do the work that is not done yet, and return the finished run; no other job can write to it meanwhile.

        Raises:
            InputError: Something that the user gave does not fit, which only the work has shown.
            DivergedError: Training diverged.
        """
        self._started = time.monotonic()
        config: Any = self._config
        options = {"resume": self._resume, "overwrite": self._overwrite, "private": self.private}
        run = self._run = Run.open(self._path, config, seed=config.seed, **options)
        run.on_event = self._on_event
        try:
            run.check_inputs(self.inputs(run.salt))
            if not self._is_finished():
                run.finish({**self.head(), **self.produce()}, self.Result)
            if is_main_process():
                self.clean_up()  # of a finished run too: its last session may have been killed before this
            return run
        finally:
            if self._trackers is not None:
                self._trackers.finish()
            run.close()

    def head(self) -> dict[str, Any]:
        """Return the first keys of the result, which all kinds share."""
        config: Any = self._config
        method = getattr(config, "method", None)
        return {
            "operator": config.operator,
            "kind": self.kind,
            "name": config.name,
            "method": getattr(method, "name", method),
            "seed": config.seed,
        }

    def cost(self, **figures: Any) -> dict[str, Any]:
        """Return ``cost`` of the result: seconds by phase over all sessions, peak memory, and further figures."""
        return {
            "seconds": self._run.seconds(),
            "last_session_seconds": time.monotonic() - self._started,
            "peak_memory_bytes": peak_memory(),
            **figures,
        }

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to ``metrics.jsonl``, and send its figures to the trackers of the configuration."""
        config: Any = self._config
        self._run.log(event)
        names = getattr(config, "trackers", ())
        if not names:
            return
        if self._trackers is None:
            settings = flatten(config.model_dump(mode="json"))
            step = len(self._run.events()) - 1
            self._trackers = Trackers(names, config.name, self._run.path / "trackers", settings, step)
        stage = event.get("stage", "learn")
        prefix = "" if stage == "learn" else f"{stage}/"
        left_out = ("phase", "stage", "task", "epoch", "part", "step")
        self._trackers.log({f"{prefix}{name}": value for name, value in event.items() if name not in left_out})

    def _check_available(self) -> None:
        """Raise unless the run can be opened, and holds nothing that the job reads: overwriting would remove it."""
        check_trackers(getattr(self._config, "trackers", ()))
        Run.check_available(self._path, self._config, resume=self._resume, overwrite=self._overwrite)
        for name in local_paths(self._config):
            if Path(name).exists() and Path(name).resolve().is_relative_to(self._path):
                raise InputError(f"{self._path}: holds {name}, which the job reads; choose another --out")

    def _is_finished(self) -> bool:
        """Return whether the run is finished; raise if a model is damaged or asked-for samples are missing."""
        if not self._run.finished:
            return False
        sealed = [*([self._run.path / "model"] if self.sealed_model else []), *self._run.learners.glob("task-*")]
        for path in sorted(sealed):
            if not is_complete(path):
                damage = f"its {path.relative_to(self._run.path)}/ is damaged or incomplete"
                raise InputError(f"{self._run.path}: is finished, but {damage}; --overwrite runs the job again")
        if self._show_samples and not (self._run.path / "samples.json").is_file():
            raise InputError(
                f"{self._run.path}: is finished without samples; --overwrite runs the job again with samples"
            )
        self._say(f"{self._run.path} is already finished")
        return True
