"""Learn representations from a stream of tasks: train, measure, remember, task after task."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from safetensors.torch import load_file
from timm.optim import Lars
from torch import Tensor, nn

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario
from myosotis.continual.selfsupervised.batches import ViewBatches
from myosotis.continual.selfsupervised.contrast import Pair
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, SslTask
from myosotis.continual.selfsupervised.measuring import Measured, Measuring, ProbeSettings
from myosotis.data.images import to_unit
from myosotis.data.views import ViewSettings
from myosotis.engine.checkpoint import is_complete, newest_complete, seal
from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.files import write_json, write_tensors
from myosotis.engine.loop import Precision, train
from myosotis.engine.processes import is_main_process, seed_global_generator, share, wait_for_everyone
from myosotis.engine.schedule import Schedule, make_schedule
from myosotis.engine.seeding import derive_seed

SslOptimizer = Literal["sgd", "lars", "adamw"]

_LOSSES = "losses of the last epoch"


@dataclass(frozen=True)
class SslSettings:
    """How a task is trained.

    Attributes:
        epochs: Of each task.
        learning_rate: The largest one.
        optimizer: ``"sgd"``, ``"adamw"`` or ``"lars"``, which scales the rate of each matrix by its norm, as the papers
            do for large batches.
        momentum: Of these two.
        weight_decay: Not of biases and of normalisation, which LARS does not scale either.
        batch: Current samples in a step, over all processes.
        memory_batch: Remembered samples besides; None: as many.
        schedule: See :func:`~myosotis.engine.schedule.make_schedule`; it begins anew with each task.
        warmup: Epochs in which the rate rises.
        views: How views are drawn.
        max_grad_norm: Gradients are clipped to this norm.
        precision: Of the forward pass; losses are in single precision.
        accumulate: Batches whose mean gradient makes one step.
        checkpoint_every: Epochs between checkpoints.
    """

    epochs: int = 100
    learning_rate: float = 0.06
    optimizer: SslOptimizer = "sgd"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch: int = 256
    memory_batch: int | None = None
    schedule: Schedule = "cosine"
    warmup: int = 0
    views: ViewSettings = field(default_factory=ViewSettings)
    max_grad_norm: float | None = None
    precision: Precision = "no"
    accumulate: int = 1
    checkpoint_every: int = 1


@dataclass
class SslRecord:
    """What was measured after a task.

    Attributes:
        measured: Of the encoder.
        loss: Mean of the terms over the last epoch.
        seconds: Of training; None where an earlier session did a part of it.
        steps: Of the optimiser.
        images: Views that passed through the network in training, remembered ones among them.
        exemplars: In the memory.
    """

    measured: Measured
    loss: dict[str, float]
    seconds: float | None
    steps: int
    images: int
    exemplars: int


@dataclass
class SslOutcome:
    """A stream that has been learnt.

    Attributes:
        learner: As it is at the end.
        before: The encoder before the first task, measured.
        records: One for each task; a single one for joint training.
        few_labels: Accuracy at the end by the share of labels that a probe was fitted to.
        maps: Features of some test samples before the first and after the last task, and their classes.
    """

    learner: SslLearner[Any]
    before: Measured
    records: list[SslRecord]
    few_labels: dict[str, float]
    maps: dict[str, Tensor]


def learn_representations(
    learner: SslLearner[Any],
    scenario: Scenario,
    memory: ExemplarMemory,
    settings: SslSettings,
    probes: ProbeSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    shown: int = 1000,
    checkpoints: Path | None = None,
    log: Callable[[Mapping[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
    on_task: Callable[[int, SslLearner[Any]], None] | None = None,
) -> SslOutcome:
    """Learn the tasks of a stream one after another without their labels, and measure after each.

    With ``checkpoints`` a call that was interrupted, even in the middle of a task, goes on from the last state that was
    kept and ends with the same weights as one that was not; its past model is that of the task before.

    Args:
        learner: See :func:`~myosotis.continual.selfsupervised.methods.build_learner`.
        scenario: The stream, with a test set.
        memory: Still empty; for methods that read one.
        settings: Of the training of each task.
        probes: How the encoder is measured.
        seed: Of order and views.
        device: Of the network.
        shown: Test samples whose features are kept for a map; 0 for none.
        checkpoints: Where the state is kept.
        log: Takes the mean loss terms of every epoch, and the figures after a task.
        say: Takes a line after each task.
        on_task: Takes the number of a task and the learner as it is after it.

    Raises:
        SettingsError: The settings do not suit images, base, method or memory.
        DivergedError: A loss or a weight is not finite at the end of an epoch.
    """
    return _Stream(
        learner, scenario, memory, settings, probes, seed, device, shown, checkpoints, log, say, on_task
    ).run()


def check_ssl(learner: SslLearner[Any], scenario: Scenario, memory: ExemplarMemory, settings: SslSettings) -> None:
    """Raise ``SettingsError`` unless base, method, stream, memory and training go together."""
    name, world = learner.card.name, share()[1]
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if learner.reads_memory and memory.is_none:
        raise SettingsError(f"method '{name}' needs a 'memory'")
    if not learner.reads_memory and not memory.is_none:
        raise SettingsError(f"method '{name}' reads no stored samples: leave 'memory' out")
    if settings.memory_batch is not None and not learner.reads_memory:
        raise SettingsError(f"method '{name}' reads no stored samples: leave 'memory_batch' out")
    if learner.mixes and settings.memory_batch is not None:
        raise SettingsError(f"method '{name}' mixes each sample with a stored one: leave 'memory_batch' out")
    for key, value in (("memory_batch", settings.memory_batch or 0), ("batch", settings.batch)):
        if value % world:
            raise SettingsError(f"'training.{key}' is {value}; it must divide into {world} processes")
    learner.check_batch(settings.batch // world)
    learner.base.check_batch(settings.batch // world)
    learner.base.check_batch(settings.batch + (0 if not learner.adds else _memory_batch(settings)))
    sizes = [len(task.train) for task in scenario]
    smallest = sum(sizes) if learner.sees_all else min(sizes)
    if smallest < settings.batch:
        raise SettingsError(f"a task has {smallest} images, fewer than a batch of {settings.batch}")
    if settings.warmup >= settings.epochs:
        raise SettingsError(f"a warm-up of {settings.warmup} epochs leaves nothing of {settings.epochs}")


def _memory_batch(settings: SslSettings) -> int:
    return settings.batch if settings.memory_batch is None else settings.memory_batch


class _Progress:
    """State within a task that is not in the network's weights: the learner's own, and the losses of the last epoch.

    Args:
        learner: What learns.
        losses: Filled when a checkpoint is loaded: the epoch that they are of may be the last.
    """

    def __init__(self, learner: SslLearner[Any], losses: dict[str, float]) -> None:
        self._learner, self._losses = learner, losses

    def state_dict(self) -> dict[str, Any]:
        """Return both."""
        return {**self._learner.state_dict(), _LOSSES: dict(self._losses)}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore both."""
        own = dict(state)
        self._losses.update(own.pop(_LOSSES, {}))
        self._learner.load_state_dict(own)


class _Stream:
    """One call of :func:`learn_representations`."""

    def __init__(
        self,
        learner: SslLearner[Any],
        scenario: Scenario,
        memory: ExemplarMemory,
        settings: SslSettings,
        probes: ProbeSettings,
        seed: int,
        device: torch.device | str,
        shown: int,
        checkpoints: Path | None,
        log: Callable[[Mapping[str, Any]], None] | None,
        say: Callable[[str], None] | None,
        on_task: Callable[[int, SslLearner[Any]], None] | None,
    ) -> None:
        check_ssl(learner, scenario, memory, settings)
        self._learner, self._scenario, self._memory, self._settings = learner, scenario, memory, settings
        self._seed, self._device, self._count = seed, torch.device(device), shown
        self._checkpoints, self._log, self._say, self._on_task = checkpoints, log, say, on_task
        self._measuring = Measuring(scenario, probes, self._device)
        every = torch.cat([task.train.places for task in scenario]).sort().values
        self._tasks = [every] if learner.sees_all else [task.train.places for task in scenario]
        self._before: Measured | None = None
        self._records: list[SslRecord] = []
        self._maps: dict[str, Tensor] = {}

    def run(self) -> SslOutcome:
        """Do what is not done yet."""
        self._learner.to(self._device)
        done = self._restore()
        if self._before is None:
            self._before = self._measured()
            self._keep_map("before")
        # Dropout and its like draw from torch's global generator, which is the caller's.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            for number in range(done, len(self._tasks)):
                self._task(number)
        few = self._measuring.few_labels(self._learner)
        return SslOutcome(self._learner, self._before, self._records, few, self._maps)

    # One task -------------------------------------------------------------------------------------------------------

    def _batches(self, number: int, purpose: str) -> ViewBatches:
        settings, learner = self._settings, self._learner
        remembered = self._memory.places() if purpose == "learn" else torch.empty(0, dtype=torch.long)
        return ViewBatches(
            self._scenario.train.images,
            self._tasks[number],
            remembered,
            size=settings.batch,
            memory_size=_memory_batch(settings) if learner.reads_memory else 0,
            again=learner.mixes,
            views=settings.views,
            seed=derive_seed(self._seed, purpose, number),
            device=self._device,
        )

    def _plain(self, places: Int[Tensor, " n"]) -> Tensor:
        return to_unit(self._scenario.train.images[places].to(self._device))

    def _task(self, number: int) -> None:
        learner, settings = self._learner, self._settings
        started, begun = time.monotonic(), self._begun(number)

        def look() -> Iterator[tuple[Pair, Int[Tensor, " batch"]]]:
            return ((batch.views, batch.samples) for batch in self._batches(number, "look")(0))

        task = SslTask(number, look, self._plain, self._scenario.kind, self._seed)
        learner.net.train()
        learner.before_task(task)
        batches = self._batches(number, "learn")
        loss = self._train(number, batches)
        if learner.reads_memory:
            # What is shown is never read: all samples count as one class.
            self._memory.add({0: self._tasks[number]})
        learner.after_task(task, self._memory.places())
        seconds = None if begun else time.monotonic() - started
        measured = self._measured()
        steps = settings.epochs * math.ceil(batches.steps / settings.accumulate)
        each = batches.size + batches.memory_size
        self._records.append(
            SslRecord(measured, loss, seconds, steps, 2 * settings.epochs * batches.steps * each, len(self._memory))
        )
        self._keep_map("after")
        if self._on_task is not None:
            self._on_task(number, learner)
        self._save(number)
        if self._log is not None:
            self._log({"phase": "task", "task": number, "linear": measured.linear_all, "knn": measured.knn_all})
        if self._say is not None:
            shown = " ".join(f"{value:.3f}" for value in measured.linear)
            self._say(
                f"task {number + 1} of {len(self._tasks)}: linear probe {measured.linear_all:.3f}, of each task {shown}"
            )

    def _train(self, number: int, batches: ViewBatches) -> dict[str, float]:
        learner, settings = self._learner, self._settings
        optimizer = make_optimizer(learner.net, settings)
        per_epoch = math.ceil(batches.steps / settings.accumulate)
        total = per_epoch * settings.epochs
        scheduler = make_schedule(optimizer, settings.schedule, total, warmup=settings.warmup * per_epoch)
        sums: dict[str, Tensor] = {}
        last: dict[str, float] = {}
        counted = 0

        def loss(net: nn.Module, batch: SslBatch, _: int) -> Mapping[str, Tensor]:
            nonlocal counted
            terms = learner.loss(net, batch)
            counted += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
            return terms

        def batches_of(epoch: int) -> Iterator[SslBatch]:
            seed_global_generator(self._seed, "dropout", number, epoch)
            return batches(epoch)

        def after_epoch(epoch: int, step: int) -> None:
            nonlocal counted
            last.clear()
            last.update({name: value.item() / max(1, counted) for name, value in sums.items()})
            if not all(math.isfinite(value) for value in last.values()) or not all(
                bool(value.isfinite().all()) for value in learner.net.state_dict().values()
            ):
                raise DivergedError(f"training diverged in task {number + 1}; lower the learning rate")
            if self._log is not None:
                self._log({"phase": "learn", "task": number, "epoch": epoch, "step": step, **last})
            sums.clear()
            counted = 0

        learner.net.train()
        train(
            learner.net,
            optimizer,
            batches_of,
            loss,
            epochs=settings.epochs,
            scheduler=scheduler,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            accumulate=settings.accumulate,
            after_update=lambda step: learner.after_update((step - 1) / total),
            after_epoch=after_epoch,
            checkpoints=None if self._checkpoints is None else self._checkpoints / f"task-{number}" / "learn",
            save_every=settings.checkpoint_every,
            steps_per_epoch=per_epoch,
            state=_Progress(learner, last),
            description=f"task {number + 1} of {len(self._tasks)}",
        )
        learner.net.eval()
        if share()[1] > 1:
            # Each process has updated running statistics from its own part of a batch.
            for buffer in (*learner.net.buffers(), *learner.base.buffers()):
                torch.distributed.broadcast(buffer, 0)
        return last

    # Measuring ------------------------------------------------------------------------------------------------------

    def _measured(self) -> Measured:
        return self._measuring.measure(self._learner)

    def _keep_map(self, moment: str) -> None:
        if self._count:
            features, labels = self._measuring.shown(self._learner, self._count)
            self._maps |= {moment: features, "classes": labels}

    # Keeping --------------------------------------------------------------------------------------------------------

    def _save(self, number: int) -> None:
        if self._checkpoints is None:
            return
        if is_main_process():
            staged = self._checkpoints / ".after.partial"
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            write_ssl(self._learner, staged)
            kept = {"drift": self._measuring.before, **self._maps}
            write_tensors(
                staged / "maps.safetensors", {n: one.contiguous() for n, one in kept.items() if one is not None}
            )
            write_json(staged / "memory.json", self._memory.state_dict())
            assert self._before is not None  # noqa: S101 - measured first
            records = [asdict(one) for one in self._records]
            write_json(staged / "records.json", {"before": asdict(self._before), "records": records})
            seal(staged, self._checkpoints / f"after-{number}")
            shutil.rmtree(self._checkpoints / f"task-{number}", ignore_errors=True)
            shutil.rmtree(self._checkpoints / f"after-{number - 1}", ignore_errors=True)
        wait_for_everyone()

    def _begun(self, number: int) -> bool:
        if self._checkpoints is None:
            return False
        return newest_complete(self._checkpoints / f"task-{number}" / "learn") is not None

    def _restore(self) -> int:
        """Take up the last task that was finished; return how many are."""
        if self._checkpoints is None:
            return 0
        for number in reversed(range(len(self._tasks))):
            place = self._checkpoints / f"after-{number}"
            if is_complete(place):
                read_ssl(self._learner, place)
                self._learner.to(self._device)
                self._memory.load_state_dict(json.loads((place / "memory.json").read_text(encoding="utf-8")))
                kept = json.loads((place / "records.json").read_text(encoding="utf-8"))
                self._before = Measured(**kept["before"])
                self._records = [
                    SslRecord(**{**one, "measured": Measured(**one["measured"])}) for one in kept["records"]
                ]
                self._maps = load_file(place / "maps.safetensors")
                self._measuring.take_up(self._maps.pop("drift"))
                return number + 1
        return 0


def make_optimizer(net: nn.Module, settings: SslSettings) -> torch.optim.Optimizer:
    """Return the optimiser of what wants a gradient; vectors are not decayed."""
    wanted = [one for one in net.parameters() if one.requires_grad]
    # Without weight decay timm's LARS leaves a group unscaled, as the papers do with vectors alone.
    scaled = {"always_adapt": True} if settings.optimizer == "lars" else {}
    groups = [
        {"params": [one for one in wanted if one.ndim > 1], "weight_decay": settings.weight_decay, **scaled},
        {"params": [one for one in wanted if one.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate)
    if settings.optimizer == "lars":
        found: torch.optim.Optimizer = Lars(
            groups, lr=settings.learning_rate, momentum=settings.momentum, trust_coeff=0.02, trust_clip=True
        )
        return found
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=settings.momentum)


def write_ssl(learner: SslLearner[Any], place: Path) -> None:
    """Write the network and what stands beside it."""
    for name, tensors in (("net", learner.net.state_dict()), ("beside", learner.end_state())):
        if tensors:
            # Copies: safetensors refuses tensors that share memory.
            write_tensors(place / f"{name}.safetensors", {key: one.cpu().clone() for key, one in tensors.items()})


def read_ssl(learner: SslLearner[Any], place: Path) -> None:
    """Take up what :func:`write_ssl` wrote; the learner is made alike."""
    learner.net.load_state_dict(load_file(place / "net.safetensors"))
    kept = place / "beside.safetensors"
    learner.load_end_state(load_file(kept) if kept.is_file() else {})
    learner.net.eval()
