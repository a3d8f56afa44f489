"""The loop over the tasks of a stream: train, measure, save, and resume an interrupted session.

Learners of classes, of segmentation and of representations each have a network, a method and a memory; this loop is
theirs in common. :meth:`StreamTrainer.run` restores what an earlier session has learnt, and for each task that is left
calls :meth:`StreamTrainer.learn_task`, which trains (:meth:`StreamTrainer.fit`, on the engine's one loop), updates the
memory, measures, and returns a record. The record is logged, and only then is the state after the task sealed: a
session that is cut between the two does the end of the task again and logs it again, and a resumed one never misses it.

    trainer = MyTrainer(learner, sizes=[2, 2, 2], checkpoints=folder, say=print)
    records = trainer.run()

What must not change: every random choice comes from a seed and the task, so that the order of sessions does not matter;
and what a method remembers lives in its ``state_dict`` or ``end_state``, for nothing else is saved.
"""

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypedDict, TypeVar

import torch
from pydantic import PositiveFloat, PositiveInt, TypeAdapter
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from myosotis.engine.artifact import read_description, read_weights, readable_weights, write_weights
from myosotis.engine.checkpoint import is_complete, newest_complete, sealed_directory
from myosotis.engine.config import Config
from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.engine.files import read_json, write_json
from myosotis.engine.loop import Precision, numbers_of, train
from myosotis.engine.method import MethodCard
from myosotis.engine.processes import is_main_process, seed_global_generator, share, wait_for_everyone
from myosotis.engine.result import ResultPart
from myosotis.engine.schedule import Schedule
from myosotis.models.backbone import use_channels_last

SettingsT = TypeVar("SettingsT")
RecordT = TypeVar("RecordT", bound=ResultPart)

Log = Callable[[Mapping[str, Any]], None]

_LOSSES = "losses of the last epoch"


class TaskTraining(Config):
    """Settings of the training of each task that all learners of a stream share.

    Attributes:
        batch_size: Samples per step, over all processes.
        schedule: Learning-rate schedule, see :func:`~myosotis.engine.schedule.make_schedule`; restarts with each task.
        max_grad_norm: Norm that gradients are clipped to; None leaves them as they are.
        precision: Precision of the forward pass; ``"no"`` is that of the weights.
        accumulate: Batches whose mean gradient makes one step.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "batch": "batch_size",
        "memory_batch": "memory_batch_size",
        "checkpoint_every": "checkpoint_every, beside 'training'",
    }

    batch_size: PositiveInt
    schedule: Schedule = "cosine"
    max_grad_norm: PositiveFloat | None = None
    precision: Precision = "no"
    accumulate: PositiveInt = 1


class StreamLearner(ABC, Generic[SettingsT]):
    """A network and a method that learn the tasks of a stream; each wing of ``continual`` adds its own hooks."""

    card: ClassVar[MethodCard]
    Settings: ClassVar[type[Any]]
    channels_last: ClassVar[bool] = True
    """Whether :func:`~myosotis.models.backbone.use_channels_last` is asked for on a CPU."""

    settings: SettingsT
    net: Any

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        self.net.to(device)
        self.arrange(self.net, device)

    def arrange(self, network: nn.Module, device: torch.device) -> None:
        """Store the convolutions of a network on a device in the faster layout, in place."""
        if self.channels_last and device.type == "cpu":
            use_channels_last(network)

    def buffers(self) -> Iterator[Tensor]:
        """Yield running statistics beside the network's, which each process updates from its own part of a batch."""
        return iter(())

    def grow(self, number: int, count: int) -> None:
        """Give the network the shape that it has in task ``number``, which adds ``count`` classes."""

    def end_state(self) -> dict[str, Tensor]:
        """Return the tensors that a later task needs beside the network."""
        return {}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`end_state` returned; the network is complete already."""

    def state_dict(self) -> dict[str, Any]:
        """Return what changes within a task beside the weights of the network."""
        return {}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore what :meth:`state_dict` returned."""

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Change indices of stored samples: the training set is another one. By default the method stores none."""

    def stored_indices(self) -> list[int]:
        """Return the indices of samples that the method itself stores. By default there are none."""
        return []

    def remove(self, indices: Collection[int]) -> None:
        """Remove stored samples, which were forgotten. By default the method stores none."""

    def write_files(self, path: Path) -> None:
        """Write what is not tensors beside the network into files of its own. By default there is nothing."""

    def read_files(self, path: Path) -> None:
        """Read what :meth:`write_files` wrote."""


LearnerT = TypeVar("LearnerT", bound=StreamLearner[Any])
SpecT = TypeVar("SpecT")


@dataclass(frozen=True)
class Fitted:
    """The end of a training within a task.

    Attributes:
        steps: Optimisation steps.
        losses: Mean of each loss term over the last epoch.
    """

    steps: int
    losses: dict[str, float]


class StreamOptions(TypedDict, total=False):
    """What the functions that learn a stream take by keyword, whatever they learn.

    With ``checkpoints`` a call that was interrupted, even in the middle of a task, continues from the last saved state
    and ends with the same weights as one that was not.

    Attributes:
        seed: Seed of every random choice; 0 by default.
        device: Device of the network, and of the images if they fit; the CPU by default.
        checkpoints: Directory of the saved state; None, the default, saves nothing.
        checkpoint_every: Epochs between checkpoints within a task, 1 by default; of segmentation steps, 100 by default.
        log: Receives the mean loss terms of every epoch, and the figures after a task.
        say: Receives a line after each task.
        on_task: Receives the index of a task and the learner as it is after the task.
    """

    seed: int
    device: torch.device | str
    checkpoints: Path | None
    checkpoint_every: int
    log: Log | None
    say: Callable[[str], None] | None
    on_task: Callable[[int, Any], None] | None


class StreamTrainer(ABC, Generic[LearnerT, RecordT]):
    """Learns tasks one after another and records what was measured after each.

    Args:
        learner: New learner.
        sizes: Classes that each task adds; zeros where the network does not grow.
        options: See :class:`StreamOptions`.
    """

    Record: ClassVar[type[Any]]
    """Model of what is measured after a task."""

    def __init__(
        self,
        learner: LearnerT,
        sizes: Sequence[int],
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        checkpoints: Path | None = None,
        checkpoint_every: int = 1,
        log: Log | None = None,
        say: Callable[[str], None] | None = None,
        on_task: Callable[[int, LearnerT], None] | None = None,
    ) -> None:
        self.learner = learner
        self.sizes = tuple(sizes)
        self.seed = seed
        self.device = torch.device(device)
        self.checkpoint_every = checkpoint_every
        self.records: list[RecordT] = []
        self.resumed = False
        self._checkpoints, self._log, self._say, self._on_task = checkpoints, log, say, on_task

    @abstractmethod
    def learn_task(self, index: int) -> RecordT:
        """Train on a task, update the memory and measure."""

    @abstractmethod
    def figures(self, record: RecordT) -> tuple[dict[str, Any], str]:
        """Return the figures of a record for the log, and the same as text."""

    @abstractmethod
    def save_state(self, path: Path) -> None:
        """Write what the next task needs beside the learner and the records into a directory."""

    @abstractmethod
    def load_state(self, path: Path) -> None:
        """Restore what :meth:`save_state` wrote."""

    def run(self) -> list[RecordT]:
        """Learn the tasks that are not learnt yet, and return the records of all."""
        self.learner.to(self.device)
        first = self._restore()
        self.resumed = first > 0 or self.interrupted(first)
        first = first or self.begin()
        # Dropout and the like draw from torch's global generator, which belongs to the caller.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            for index in range(first, len(self.sizes)):
                self._learn(index)
        return self.records

    def begin(self) -> int:
        """Take over what an earlier run has learnt, where there is one, and return the number of its tasks."""
        return 0

    def interrupted(self, index: int) -> bool:
        """Return whether an earlier session trained on a part of this task."""
        if self._checkpoints is None:
            return False
        stages = self._checkpoints / f"task-{index}"
        return stages.is_dir() and any(newest_complete(stage) is not None for stage in stages.iterdir())

    def fit(
        self,
        index: int,
        batches: Callable[[int], Iterable[Any]],
        loss: Callable[[nn.Module, Any], Mapping[str, Tensor]],
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        settings: TaskTraining,
        *,
        epochs: int,
        steps_per_epoch: int,
        dropout: Sequence[int | str],
        stage: str = "learn",
        unit: str = "epoch",
        save_every: int = 1,
        after_update: Callable[[int], None] | None = None,
    ) -> Fitted:
        """Train the network of the learner, whose modules are in training mode already.

        Args:
            index: Index of the task.
            batches: Function from the epoch to this process's batches.
            loss: Function from the network and a batch to named terms, whose sum is minimised.
            optimizer: Optimiser of the parameters that are trained.
            scheduler: Schedule of its learning rate.
            settings: Precision, accumulation and clipping.
            epochs: Number of epochs.
            steps_per_epoch: Optimisation steps in each.
            dropout: Seed and purpose that the global generator is seeded with, together with the epoch.
            stage: Name of this training, unique within the task.
            unit: Name of an epoch in the log.
            save_every: Epochs between checkpoints.
            after_update: Receives the number of steps after each.

        Raises:
            DivergedError: A weight or a mean loss is not finite at the end of an epoch.
        """
        net = self.learner.net
        # What has grown since the learner was moved.
        self.learner.arrange(net, self.device)
        meter = _LossMeter(self.learner)

        def step_loss(network: nn.Module, batch: Any, _: int) -> Mapping[str, Tensor]:
            terms = loss(network, batch)
            meter.add(terms)
            return terms

        def seeded_batches(epoch: int) -> Iterable[Any]:
            seed_global_generator(int(dropout[0]), *dropout[1:], epoch)
            meter.reset()
            return batches(epoch)

        def after_epoch(epoch: int, step: int) -> None:
            losses = meter.mean()
            # A scaler skips the steps whose loss overflows in half precision.
            is_finite = settings.precision == "fp16" or all(math.isfinite(value) for value in losses.values())
            finite = torch.stack([value.isfinite().all() for value in net.state_dict().values()])
            if not is_finite or not bool(finite.all()):
                raise DivergedError(f"training diverged in task {index + 1}; lower the learning rate")
            self.log({"phase": "learn", "task": index, "stage": stage, unit: epoch, "step": step, **losses})

        end = train(
            net,
            optimizer,
            seeded_batches,
            step_loss,
            epochs=epochs,
            scheduler=scheduler,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            accumulate=settings.accumulate,
            after_update=after_update,
            after_epoch=after_epoch,
            checkpoints=self.stage_checkpoints(index, stage),
            save_every=save_every,
            steps_per_epoch=steps_per_epoch,
            state=meter,
            description=f"task {index + 1} of {len(self.sizes)}{'' if stage == 'learn' else f', {stage}'}",
        )
        net.eval()
        if share()[1] > 1:
            for buffer in self.learner.buffers():
                torch.distributed.broadcast(buffer, 0)
        return Fitted(end.steps, meter.losses)

    def stage_checkpoints(self, index: int, stage: str = "learn") -> Path | None:
        """Return the directory of the checkpoints within a task."""
        return None if self._checkpoints is None else self._checkpoints / f"task-{index}" / stage

    def log(self, event: Mapping[str, Any]) -> None:
        """Log an event, if the caller wants one."""
        if self._log is not None:
            self._log(event)

    def _learn(self, index: int) -> None:
        record = self.learn_task(index)
        self.records.append(record)
        if self._on_task is not None:
            self._on_task(index, self.learner)
        figures, text = self.figures(record)
        # Before the state is saved: a resumed session does not come back to the task, and would never log it.
        self.log({"phase": "task", "task": index, **figures})
        self._save(index)
        if self._say is not None:
            self._say(f"task {index + 1} of {len(self.sizes)}: {text}")

    def _save(self, index: int) -> None:
        if self._checkpoints is None:
            return
        if is_main_process():
            with sealed_directory(self._checkpoints / f"after-{index}") as staged:
                write_learner(self.learner, staged)
                write_json(staged / "records.json", [record.model_dump(mode="json") for record in self.records])
                self.save_state(staged)
            shutil.rmtree(self._checkpoints / f"task-{index}", ignore_errors=True)
            shutil.rmtree(self._checkpoints / f"after-{index - 1}", ignore_errors=True)
        wait_for_everyone()

    def _restore(self) -> int:
        """Restore the state after the last finished task, and return how many are finished."""
        if self._checkpoints is None:
            return 0
        for index in reversed(range(len(self.sizes))):
            path = self._checkpoints / f"after-{index}"
            if is_complete(path):
                read_learner(self.learner, self.sizes[: index + 1], path)
                self.learner.to(self.device)
                self.records = TypeAdapter(list[self.Record]).validate_python(read_json(path / "records.json"))  # type: ignore[name-defined]
                self.load_state(path)
                return index + 1
        return 0


class _LossMeter:
    """Mean loss terms of an epoch; in a checkpoint together with the state of the learner."""

    def __init__(self, learner: StreamLearner[Any]) -> None:
        self._learner = learner
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self.losses: dict[str, float] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of a batch; nothing is copied from the device."""
        self._count += 1
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()

    def reset(self) -> None:
        """Begin an epoch."""
        self._sums.clear()
        self._count = 0

    def mean(self) -> dict[str, float]:
        """Return, and keep, the means of the epoch."""
        self.losses = {name: value / max(1, self._count) for name, value in numbers_of(self._sums).items()}
        return self.losses

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the learner, and the losses: the epoch that they belong to may be the last."""
        return {**self._learner.state_dict(), _LOSSES: dict(self.losses)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore both."""
        own = dict(state)
        self.losses = own.pop(_LOSSES, {})
        self._learner.load_state_dict(own)


def write_learner(learner: StreamLearner[Any], path: Path, shared: Mapping[str, Tensor] | None = None) -> None:
    """Write the weights of the network, and what the method needs beside them, into a directory.

    Args:
        learner: The learner.
        path: The directory.
        shared: Tensors of ``model.safetensors`` in the directory, which are not written again.
    """
    for name, tensors in (("net", learner.net.state_dict()), ("method", learner.end_state())):
        if tensors:
            write_weights(path / f"{name}.safetensors", tensors, shared)
    learner.write_files(path)


def load_saved(
    spec_of: type[SpecT],
    file: Path,
    title: str,
    make: Callable[[SpecT], LearnerT],
    sizes_of: Callable[[SpecT], Sequence[int]],
) -> tuple[LearnerT, SpecT]:
    """Read a learner and its description from a directory.

    Args:
        spec_of: Type of the description.
        file: File of the description; the weights are beside it.
        title: What it describes, with its article.
        make: Function from a description to a new learner.
        sizes_of: Function from a description to the classes of each learnt task.

    Returns:
        The learner in evaluation mode, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    spec = read_description(spec_of, file, title)
    try:
        learner = make(spec)
    except SettingsError:
        raise InputError(f"{file}: does not describe {title}") from None
    with readable_weights(file.parent):
        read_learner(learner, sizes_of(spec), file.parent)
    return learner, spec


def read_learner(learner: StreamLearner[Any], sizes: Sequence[int], path: Path) -> None:
    """Restore what :func:`write_learner` wrote after tasks of these sizes; the learner is new."""
    for number, size in enumerate(sizes):
        learner.grow(number, size)
    learner.net.load_state_dict(read_weights(path / "net.safetensors"))
    device = next(learner.net.parameters()).device
    method = path / "method.safetensors"
    state = read_weights(method) if method.is_file() else {}
    learner.load_end_state({name: value.to(device) for name, value in state.items()})
    learner.read_files(path)
    learner.net.eval()
