"""Learn representations from a stream of tasks: train, measure and update the memory, task after task."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import torch
from jaxtyping import Int
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from safetensors.torch import load_file
from torch import Tensor, nn

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario
from myosotis.continual.selfsupervised.batches import ViewBatches
from myosotis.continual.selfsupervised.contrast import Pair
from myosotis.continual.selfsupervised.learner import SslLearner, SslTask
from myosotis.continual.selfsupervised.measuring import Measuring, ProbeSettings, Transfer
from myosotis.continual.selfsupervised.result import Measured, SslRecord
from myosotis.continual.stream import StreamOptions, StreamTrainer, TaskTraining
from myosotis.data.images import to_unit
from myosotis.data.views import ViewSettings
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import read_json, write_json, write_tensors
from myosotis.engine.processes import share
from myosotis.engine.schedule import make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.engine.tabular import Tabular

SslOptimizer = Literal["sgd", "lars", "adamw"]


class SslSettings(TaskTraining):
    """Training of each task.

    Attributes:
        epochs: Epochs per task.
        learning_rate: Largest learning rate.
        optimizer: ``"sgd"``, ``"adamw"`` or ``"lars"``, which scales the rate of each matrix by its norm, as the papers
            do for large batches.
        momentum: Momentum of ``"sgd"`` and ``"lars"``.
        weight_decay: Weight decay, except of biases and normalisation, which LARS does not scale either.
        batch_size: Current samples per step, over all processes.
        memory_batch_size: Remembered samples beside them; None: as many.
        warmup: Epochs in which the learning rate rises.
        views: Random views of an image.
    """

    epochs: PositiveInt = 100
    learning_rate: PositiveFloat = 0.06
    optimizer: SslOptimizer = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    batch_size: Annotated[int, Field(ge=2)] = 256
    memory_batch_size: PositiveInt | None = None
    warmup: NonNegativeInt = 0
    views: ViewSettings = ViewSettings()

    @model_validator(mode="after")
    def _belongs(self) -> "SslSettings":
        if self.optimizer == "adamw" and self.momentum != type(self).model_fields["momentum"].default:
            raise ValueError("'momentum' belongs to 'sgd' and 'lars'")
        if self.warmup and self.schedule == "onecycle":
            raise ValueError("'onecycle' has its own warm-up; leave 'warmup' out")
        if self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs must be shorter than the training of {self.epochs}")
        return self


@dataclass(repr=False)
class SslOutcome(Tabular):
    """A stream that has been learnt.

    Attributes:
        learner: Learner after the last task.
        before: Measurements before the first task.
        records: Measurements after each task; a single one for joint training.
        few_labels: Final accuracy by the share of labels that a probe was fitted to.
        maps: Features of some test samples before the first and after the last task, and their classes.
    """

    learner: SslLearner[Any]
    before: Measured
    records: list[SslRecord]
    few_labels: dict[str, float]
    maps: dict[str, Tensor]

    def headline(self) -> str:
        """Return the accuracy of a linear probe before and after."""
        after = self.records[-1].measured.linear_all
        return f"linear probe {self.before.linear_all:.3f} before, {after:.3f} after {len(self.records)} trainings"

    def rows(self) -> list[dict[str, Any]]:
        """Return the accuracies of the probes before the first task and after each."""
        measured = [self.before, *(record.measured for record in self.records)]
        return [
            {"after task": number, "linear": each.linear_all, "knn": each.knn_all, "drift": each.drift}
            for number, each in enumerate(measured)
        ]


def learn_representations(
    learner: SslLearner[Any],
    scenario: Scenario,
    memory: ExemplarMemory,
    settings: SslSettings,
    probes: ProbeSettings,
    *,
    transfer: Sequence[Transfer] = (),
    shown: int = 1000,
    **options: Unpack[StreamOptions],
) -> SslOutcome:
    """Learn the tasks of a stream one after another without their labels, and measure after each.

    Args:
        learner: New learner: an instance of a subclass of
            :class:`~myosotis.continual.selfsupervised.learner.SslLearner`, or what
            :func:`~myosotis.continual.selfsupervised.methods.build_learner` returns for a name.
        scenario: Stream with a test set.
        memory: Empty memory, for methods that read one.
        settings: Training of each task.
        probes: How the encoder is measured.
        transfer: Other data sets that the encoder is measured on.
        shown: Number of test samples for the map of the report; 0 for none.
        options: See :class:`~myosotis.continual.stream.StreamOptions`.

    Raises:
        SettingsError: The settings do not suit images, base, method or memory.
        DivergedError: A loss or a weight is not finite at the end of an epoch.
    """
    check_ssl(learner, scenario, memory, settings)
    trainer = _SslTrainer(learner, scenario, memory, settings, probes, transfer, shown, **options)
    records = trainer.run()
    return SslOutcome(learner, trainer.before, records, trainer.measuring.few_labels(learner), trainer.maps)


def check_ssl(learner: SslLearner[Any], scenario: Scenario, memory: ExemplarMemory, settings: SslSettings) -> None:
    """Raise ``SettingsError`` unless base, method, stream, memory and training go together."""
    name, world = learner.card.name, share()[1]
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if learner.reads_memory and memory.is_none:
        raise SettingsError(f"method '{name}' needs a 'memory'")
    if not learner.reads_memory and not memory.is_none:
        raise SettingsError(f"method '{name}' reads no stored samples: leave 'memory' out")
    if settings.memory_batch_size is not None and not learner.reads_memory:
        raise SettingsError(f"method '{name}' reads no stored samples: leave 'memory_batch_size' out")
    if learner.mixes and settings.memory_batch_size is not None:
        raise SettingsError(f"method '{name}' mixes each sample with a stored one: leave 'memory_batch_size' out")
    for key, value in (("memory_batch_size", settings.memory_batch_size or 0), ("batch_size", settings.batch_size)):
        if value % world:
            raise SettingsError(f"'training.{key}' is {value}; it must be a multiple of {world} processes")
    learner.check_batch(settings.batch_size // world)
    learner.base.check_batch(settings.batch_size // world)
    learner.base.check_batch(settings.batch_size + (0 if not learner.adds else _memory_batch_size(settings)))
    sizes = [len(task.train) for task in scenario]
    smallest = sum(sizes) if learner.sees_all else min(sizes)
    if smallest < settings.batch_size:
        raise SettingsError(f"a task has {smallest} images, fewer than a batch of {settings.batch_size}")
    if settings.warmup >= settings.epochs:
        raise SettingsError(
            f"a warm-up of {settings.warmup} epochs must be shorter than the training of {settings.epochs}"
        )


def _memory_batch_size(settings: SslSettings) -> int:
    return settings.batch_size if settings.memory_batch_size is None else settings.memory_batch_size


class _SslTrainer(StreamTrainer[SslLearner[Any], SslRecord]):
    """One call of :func:`learn_representations`."""

    Record = SslRecord
    before: Measured

    def __init__(
        self,
        learner: SslLearner[Any],
        scenario: Scenario,
        memory: ExemplarMemory,
        settings: SslSettings,
        probes: ProbeSettings,
        transfer: Sequence[Transfer],
        shown: int,
        **options: Unpack[StreamOptions],
    ) -> None:
        rows = [task.train.indices for task in scenario]
        self._tasks = [torch.cat(rows).sort().values] if learner.sees_all else rows
        super().__init__(learner, [0] * len(self._tasks), **options)
        self._scenario, self._memory, self._settings = scenario, memory, settings
        self._shown = shown
        self.measuring = Measuring(scenario, probes, self.device, transfer=transfer, seed=self.seed)
        self.maps: dict[str, Tensor] = {}

    def learn_task(self, index: int) -> SslRecord:
        """Train, update the memory and measure; before the first task the untrained encoder is measured too."""
        learner, settings = self.learner, self._settings
        if not index:
            self.before = self.measuring.measure(learner)
            self._keep_map("before")
        started, interrupted = time.monotonic(), self.interrupted(index)

        def batches_of_task() -> Iterator[tuple[Pair, Int[Tensor, " batch"]]]:
            return ((batch.views, batch.samples) for batch in self._batches(index, "look")(0))

        def plain(rows: Int[Tensor, " n"]) -> Tensor:
            return to_unit(self._scenario.train.images[rows].to(self.device))

        task = SslTask(index, batches_of_task, plain, self._scenario.kind, self.seed)
        learner.net.train()
        learner.before_task(task)
        batches = self._batches(index, "learn")
        losses = self._train(index, batches)
        if learner.reads_memory:
            # Labels are never read: all samples count as a single class.
            self._memory.add({0: self._tasks[index]})
        learner.after_task(task, self._memory.indices())
        seconds = None if interrupted else time.monotonic() - started
        measured = self.measuring.measure(learner)
        self._keep_map("after")
        steps = settings.epochs * math.ceil(batches.steps / settings.accumulate)
        views = 2 * settings.epochs * batches.steps * (batches.size + batches.memory_size)
        return SslRecord(
            measured=measured, loss=losses, seconds=seconds, steps=steps, images=views, exemplars=len(self._memory)
        )

    def figures(self, record: SslRecord) -> tuple[dict[str, Any], str]:
        """Return the accuracy of the probes, and that of the linear probe on each task."""
        measured = record.measured
        text = " ".join(f"{value:.3f}" for value in measured.linear)
        figures = {"linear": measured.linear_all, "knn": measured.knn_all}
        return figures, f"linear probe {measured.linear_all:.3f}, of each task {text}"

    def save_state(self, path: Path) -> None:
        """Write the memory, the measurement before the first task, and the features for drift and map."""
        write_json(path / "memory.json", self._memory.state_dict())
        write_json(path / "before.json", self.before.model_dump())
        tensors = {"drift": self.measuring.before, **self.maps}
        write_tensors(
            path / "maps.safetensors",
            {name: value.contiguous() for name, value in tensors.items() if value is not None},
        )

    def load_state(self, path: Path) -> None:
        self._memory.load_state_dict(read_json(path / "memory.json"))
        self.before = Measured(**read_json(path / "before.json"))
        self.maps = load_file(path / "maps.safetensors")
        self.measuring.restore(self.maps.pop("drift"))

    def _batches(self, index: int, purpose: str) -> ViewBatches:
        settings, learner = self._settings, self.learner
        remembered = self._memory.indices() if purpose == "learn" else torch.empty(0, dtype=torch.long)
        return ViewBatches(
            self._scenario.train.images,
            self._tasks[index],
            remembered,
            size=settings.batch_size,
            memory_size=_memory_batch_size(settings) if learner.reads_memory else 0,
            again=learner.mixes,
            views=settings.views,
            seed=derive_seed(self.seed, purpose, index),
            device=self.device,
        )

    def _train(self, index: int, batches: ViewBatches) -> dict[str, float]:
        learner, settings = self.learner, self._settings
        optimizer = make_optimizer(learner.net, settings)
        per_epoch = math.ceil(batches.steps / settings.accumulate)
        total = per_epoch * settings.epochs
        scheduler = make_schedule(optimizer, settings.schedule, total, warmup=settings.warmup * per_epoch)
        learner.net.train()
        return self.fit(
            index,
            batches,
            learner.loss,
            optimizer,
            scheduler,
            settings,
            epochs=settings.epochs,
            steps_per_epoch=per_epoch,
            dropout=(self.seed, "dropout", index),
            save_every=self.checkpoint_every,
            after_update=lambda step: learner.after_update((step - 1) / total),
        ).losses

    def _keep_map(self, moment: str) -> None:
        if self._shown:
            features, labels = self.measuring.shown(self.learner, self._shown)
            self.maps |= {moment: features, "classes": labels}


def make_optimizer(net: nn.Module, settings: SslSettings) -> torch.optim.Optimizer:
    """Return the optimiser of parameters that require a gradient; vectors have no weight decay."""
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    # Without weight decay timm's LARS leaves a group unscaled, as the papers do with vectors alone.
    scaled = {"always_adapt": True} if settings.optimizer == "lars" else {}
    groups = [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": settings.weight_decay, **scaled},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    if settings.optimizer == "lars":
        from timm.optim import Lars  # over a second, which a wrong configuration should not wait for

        lars: torch.optim.Optimizer = Lars(
            groups, lr=settings.learning_rate, momentum=settings.momentum, trust_coeff=0.02, trust_clip=True
        )
        return lars
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)
