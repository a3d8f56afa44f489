"""The job of a stream: read, split into tasks, learn them one after another, keep the learner and the figures."""

import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, Unpack

import torch
from torch import nn

from myosotis.continual.config import StreamJobConfig
from myosotis.continual.stream import StreamOptions
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.job import Job
from myosotis.engine.processes import device

StreamConfigT = TypeVar("StreamConfigT", bound=StreamJobConfig)
LearnerT = TypeVar("LearnerT")
OutcomeT = TypeVar("OutcomeT")


class StreamJob(Job[StreamConfigT], Generic[StreamConfigT, LearnerT, OutcomeT]):
    """One run of a command that learns the tasks of a stream; see :class:`~myosotis.engine.job.Job`.

    A subclass adds :meth:`learn`, :meth:`save` and :meth:`result`.
    """

    @abstractmethod
    def learn(self, **options: Unpack[StreamOptions]) -> OutcomeT:
        """Learn the stream."""

    @abstractmethod
    def save(self, learner: LearnerT, tasks: int, path: Path) -> None:
        """Write a learner that has learnt so many tasks into a directory."""

    @abstractmethod
    def result(self, outcome: OutcomeT) -> dict[str, Any]:
        """Return the result without its head."""

    def produce(self) -> Mapping[str, Any]:
        """Learn the stream, publish the learner and return the result."""
        config, run = self._config, self._run
        self._check_kept_learners()
        with self._run.timed("learn"), settings_as_input():
            outcome = self.learn(
                seed=config.seed,
                device=device(),
                checkpoints=run.checkpoints,
                checkpoint_every=config.checkpoint_every,
                log=self.log,
                say=self._say,
                on_task=self._keep_learner if config.keep_learners else None,
            )
        learned: Any = outcome
        self._run.publish(lambda path: self.save(learned.learner, len(learned.records), path))
        return self.result(outcome)

    def clean_up(self) -> None:
        for path in (*self._run.checkpoints.glob("after-*"), *self._run.checkpoints.glob("task-*")):
            shutil.rmtree(path, ignore_errors=True)

    def stream_cost(self, records: Sequence[Any], **figures: Any) -> dict[str, Any]:
        """Return the cost of a stream: training seconds of each task, steps and images beside what all jobs report."""
        return self.cost(
            task_seconds=[record.seconds for record in records],
            steps=sum(record.steps for record in records),
            images=sum(record.images for record in records),
            **figures,
        )

    def _check_kept_learners(self) -> None:
        """Raise if the learner after a task that is not learnt again is damaged."""
        saved = [path for path in self._run.checkpoints.glob("after-*") if is_complete(path)]
        learnt = max((int(path.name.removeprefix("after-")) + 1 for path in saved), default=0)
        for path in sorted(self._run.learners.glob("task-*")):
            if int(path.name.removeprefix("task-")) <= learnt and not is_complete(path):
                raise InputError(f"{path}: damaged or incomplete; --overwrite runs the job again")

    def _keep_learner(self, index: int, learner: LearnerT) -> None:
        self._run.learners.mkdir(exist_ok=True)
        self._run.publish(lambda path: self.save(learner, index + 1, path), f"learners/task-{index + 1}")


def try_images(net: nn.Module, images: torch.Tensor) -> None:
    """Pass images through a network: what does not fit must show before anything is written.

    Raises:
        InputError: The network does not take them.
    """
    height, width = images.shape[-2:]
    try:
        with torch.no_grad():
            net.eval()(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"the model does not take images of {width}x{height}: {first_line}") from None
