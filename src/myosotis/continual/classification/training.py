"""Learn a stream of tasks: train, remember, look back, measure, task after task."""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from myosotis.continual.classification.batches import Augmentation, ReplayBatches
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.norm import Partition, set_task_balance
from myosotis.continual.classification.norm.layers import TaskBalancedBatchNorm
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, View
from myosotis.data.images import to_unit
from myosotis.engine.checkpoint import is_complete, newest_complete, seal
from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.files import write_json, write_tensors
from myosotis.engine.loop import Precision, train
from myosotis.engine.processes import is_main_process, seed_global_generator, share, wait_for_everyone
from myosotis.engine.schedule import Schedule, make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.models.modes import evaluating

_CHUNK = 500


@dataclass(frozen=True)
class TrainSettings:
    """How a task is trained: SGD with momentum.

    Attributes:
        epochs: Of each task.
        learning_rate: The largest one.
        momentum: Of SGD.
        nesterov: Whether in Nesterov's form.
        weight_decay: Of SGD.
        batch: Samples in a step, over all processes, remembered ones among them.
        memory_batch: How many of them are remembered ones; None shuffles all together.
        schedule: See :func:`~myosotis.engine.schedule.make_schedule`; it begins anew with each task.
        drops: Likewise.
        drop_factor: Likewise.
        padding: See :class:`~myosotis.continual.classification.batches.Augmentation`.
        flip: Likewise.
        max_grad_norm: Gradients are clipped to this norm.
        precision: Of the forward pass.
        accumulate: Batches whose mean gradient makes one step.
    """

    epochs: int = 10
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    batch: int = 64
    memory_batch: int | None = None
    schedule: Schedule = "cosine"
    drops: int = 3
    drop_factor: float = 0.1
    padding: int = 0
    flip: bool = False
    max_grad_norm: float | None = None
    precision: Precision = "no"
    accumulate: int = 1


@dataclass
class TaskRecord:
    """What was measured after a task.

    Attributes:
        accuracy: On the test set of each task so far, among all classes so far.
        task_aware: Likewise, among the classes of the sample's own task.
        validation: As ``accuracy``, on what was held out; empty where nothing was.
        seconds: Of training; None where an earlier session did a part of it.
        after_seconds: Of filling the memory and of looking back.
        steps: Of the optimiser.
        images: That passed through the network in training.
        parameters: Of the network while training, and of what answers.
        exemplars: In the memory.
    """

    accuracy: list[float]
    task_aware: list[float]
    validation: list[float]
    seconds: float | None
    after_seconds: float
    steps: int
    images: int
    parameters: dict[str, int]
    exemplars: int


@dataclass
class Learned:
    """A stream that has been learnt.

    Attributes:
        learner: As it is at the end.
        memory: Likewise.
        records: One for each task.
        counts: Test samples of each task.
        answers: Of every test sample, at the end, by its place in the test set.
        resumed: Whether an earlier session did a part of it.
    """

    learner: Learner[Any]
    memory: ExemplarMemory
    records: list[TaskRecord]
    counts: list[int]
    answers: Int[Tensor, " n"]
    resumed: bool = False

    def matrix(self, kind: str = "accuracy") -> Float[Tensor, "tasks tasks"]:
        """Return the matrix for :mod:`myosotis.continual.metrics`; NaN where a task has not been learnt.

        Args:
            kind: ``"accuracy"``, ``"task_aware"`` or ``"validation"``.
        """
        found = torch.full((len(self.records),) * 2, float("nan"))
        for number, record in enumerate(self.records):
            row = getattr(record, kind)
            found[number, : len(row)] = torch.tensor(row)
        return found


@dataclass
class _Progress:
    """What a finished task leaves for the next session."""

    records: list[TaskRecord] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)


def learn_classes(
    learner: Learner[Any],
    scenario: Scenario,
    memory: ExemplarMemory,
    settings: TrainSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    checkpoints: Path | None = None,
    save_every: int = 1,
    log: Callable[[Mapping[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
    on_task: Callable[[int, Learner[Any]], None] | None = None,
    encoder: Mapping[str, Tensor] | None = None,
) -> Learned:
    """Learn the tasks of a stream one after another, and measure after each.

    With ``checkpoints`` a call that was interrupted, even in the middle of a task, goes on from the last epoch that was
    kept and ends with the same weights as one that was not.

    Args:
        learner: See :func:`~myosotis.continual.classification.methods.build_learner`.
        scenario: With a test set.
        memory: Still empty.
        settings: Of the training of each task.
        seed: Of order, augmentation and choice.
        device: Of the network; images are kept there too where they fit.
        checkpoints: Where the state is kept.
        save_every: Epochs between checkpoints within a task.
        log: Takes the mean loss terms of each epoch.
        say: Takes a line after each task.
        on_task: Takes the number of a task and the learner as it is after it.
        encoder: Weights of a backbone that knows the first task already. It is taken as it is, and the first task
            trains the head alone, so that learners that are given the same one have the same features after it.

    Raises:
        SettingsError: The method needs a memory, a batch does not suit it, or the encoder does not fit.
        DivergedError: A weight is not finite at the end of an epoch.
    """
    return _Stream(
        learner, scenario, memory, settings, seed, device, checkpoints, save_every, log, say, on_task, encoder
    ).run()


class _Stream:
    """One call of :func:`learn_classes`."""

    def __init__(
        self,
        learner: Learner[Any],
        scenario: Scenario,
        memory: ExemplarMemory,
        settings: TrainSettings,
        seed: int,
        device: torch.device | str,
        checkpoints: Path | None,
        save_every: int,
        log: Callable[[Mapping[str, Any]], None] | None,
        say: Callable[[str], None] | None,
        on_task: Callable[[int, Learner[Any]], None] | None,
        encoder: Mapping[str, Tensor] | None,
    ) -> None:
        check_fit(learner, scenario, memory, settings)
        self._learner, self._scenario, self._memory, self._settings = learner, scenario, memory, settings
        self._seed, self._device = seed, torch.device(device)
        self._checkpoints, self._save_every = checkpoints, save_every
        self._log, self._say, self._on_task = log, say, on_task
        self._encoder = encoder
        self._images = resident(scenario.train.images, self._device)
        self._labels = scenario.train.labels
        self._sizes = tuple(len(task.classes) for task in scenario)
        self._progress = _Progress()

    def run(self) -> Learned:
        """Do what is not done yet."""
        self._learner.net.to(self._device)
        done = self._restore()
        resumed = done > 0 or self._begun(done)
        # Dropout and its like draw from torch's global generator, which is the caller's.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            for number in range(done, len(self._scenario)):
                self._task(number)
        answers = self._answers()
        records = self._progress.records
        counts = [len(task.test) for task in self._scenario]
        return Learned(self._learner, self._memory, records, counts, answers, resumed)

    # One task -------------------------------------------------------------------------------------------------------

    def _state(self, number: int) -> TaskState:
        views = [task.train.places for task in self._scenario[: number + 1]]
        return TaskState(
            sizes=self._sizes[: number + 1],
            current=views[-1],
            seen=torch.cat(views),
            memory=self._memory,
            labels=self._labels,
            images=self._look,
            epochs=self._settings.epochs,
            learning_rate=self._settings.learning_rate,
            seed=self._seed,
        )

    def _look(self, places: Tensor) -> Tensor:
        return to_unit(self._images[places.to(self._images.device)].to(self._device))

    def _task(self, number: int) -> None:
        learner, state = self._learner, self._state(number)
        started, taken_up = time.monotonic(), self._begun(number)
        learner.before_task(state)
        if number == 0 and self._encoder is not None:
            take_encoder(learner, self._encoder)
        steps = images = most = 0
        for stage in learner.stages(state):
            made, batches = self._train(number, stage)
            steps += made
            images += (self._settings.epochs if stage.epochs is None else stage.epochs) * batches.steps * batches.size
            most = max(most, _parameters(learner.net))
        trained = time.monotonic()
        if learner.reads_memory and not learner.own_memory:
            self._memory.add(
                {label: state.of_class(label) for label in range(state.old, state.classes)},
                state.features(learner.net),
            )
        learner.after_task(state)
        ended = time.monotonic()
        tasks = self._scenario[: number + 1]
        accuracy, aware = self._measure([task.test for task in tasks])
        validation = self._measure([task.validation for task in tasks])[0] if len(tasks[0].validation) else []
        record = TaskRecord(
            accuracy,
            aware,
            validation,
            None if taken_up else trained - started,
            ended - trained,
            steps,
            images,
            {"training": most, "inference": learner.answering_parameters()},
            self._exemplars(),
        )
        self._progress.records.append(record)
        if self._on_task is not None:
            self._on_task(number, learner)
        self._save(number)
        if self._log is not None:
            self._log({"phase": "task", "task": number, **_means(record, [len(task.test) for task in tasks])})
        if self._say is not None:
            shown = " ".join(f"{value:.3f}" for value in accuracy)
            self._say(f"task {number + 1} of {len(self._scenario)}: accuracy on each task so far {shown}")

    def _train(self, number: int, stage: Stage) -> tuple[int, ReplayBatches]:
        learner, settings = self._learner, self._settings
        key = derive_seed(self._seed, "task", number, stage.name)
        batches = ReplayBatches(
            self._images,
            self._labels,
            stage.current,
            stage.memory,
            size=settings.batch,
            memory_size=None if stage.balanced else settings.memory_batch,
            augmentation=Augmentation(settings.padding, settings.flip),
            seed=key,
            device=self._device,
        )
        epochs = settings.epochs if stage.epochs is None else stage.epochs
        rate = settings.learning_rate if stage.learning_rate is None else stage.learning_rate
        chosen = None if stage.parameters is None else {id(one) for one in stage.parameters}
        before = [(one, one.requires_grad) for one in learner.net.parameters()]
        given = learner.encoder() if number == 0 and self._encoder is not None else None
        held = set() if given is None else {id(one) for one in given.parameters()}
        for one, flag in before:
            one.requires_grad_((flag if chosen is None else id(one) in chosen) and id(one) not in held)
        wanted = [one for one in learner.net.parameters() if one.requires_grad]
        optimizer = torch.optim.SGD(
            wanted,
            lr=rate,
            momentum=settings.momentum,
            nesterov=settings.nesterov and settings.momentum > 0,
            weight_decay=settings.weight_decay if stage.weight_decay is None else stage.weight_decay,
        )
        per_epoch = -(-batches.steps // settings.accumulate)
        scheduler = make_schedule(
            optimizer, settings.schedule, per_epoch * epochs, drops=settings.drops, factor=settings.drop_factor
        )
        sums: dict[str, Tensor] = {}

        def loss(net: nn.Module, batch: Batch, _: int) -> Mapping[str, Tensor]:
            balance = number > 0 and not stage.balanced
            set_task_balance(learner.net, Partition(batch.n_current, number) if balance else None)
            terms = stage.loss(net, batch)
            if self._log is not None:
                for name, value in terms.items():
                    sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
            return terms

        def batches_of(epoch: int) -> Any:
            seed_global_generator(key, "dropout", epoch)
            sums.clear()
            return batches(epoch)

        def after_epoch(done: int, _: int) -> None:
            if not _is_finite(learner.net):
                raise DivergedError(f"training diverged in task {number + 1}; lower the learning rate")
            if self._log is not None:
                means = {name: _finite(value.item() / batches.steps) for name, value in sums.items()}
                self._log({"phase": "learn", "task": number, "stage": stage.name, "epoch": done, **means})

        learner.net.train(stage.train)
        if given is not None:
            given.eval()
        end = train(
            learner.net,
            optimizer,
            batches_of,
            loss,
            epochs=epochs,
            scheduler=scheduler,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            accumulate=settings.accumulate,
            after_epoch=after_epoch,
            checkpoints=None if self._checkpoints is None else self._checkpoints / f"task-{number}" / stage.name,
            save_every=self._save_every,
            steps_per_epoch=per_epoch,
            state=learner,
            description=f"task {number + 1} of {len(self._scenario)}, {stage.name}",
        )
        learner.net.eval()
        _agree(learner.net)
        set_task_balance(learner.net, None)
        for one, flag in before:
            one.requires_grad_(flag)
        return end.steps, batches

    # Measuring ------------------------------------------------------------------------------------------------------

    def _measure(self, views: list[View]) -> tuple[list[float], list[float]]:
        """Accuracy on each view, among all classes so far and among those of the view's own task."""
        every, within = [], []
        for task, view in zip(self._scenario, views, strict=False):
            scores = predict(self._learner, view.dataset.images, view.places, self._device)
            every.append((scores.argmax(1) == view.labels).float().mean().item())
            own = scores[:, task.classes.start : task.classes.stop].argmax(1) + task.classes.start
            within.append((own == view.labels).float().mean().item())
        return every, within

    def _answers(self) -> Tensor:
        test = self._scenario.test
        assert test is not None  # noqa: S101 - checked at the start
        return predict(self._learner, test.images, torch.arange(len(test)), self._device).argmax(1)

    def _exemplars(self) -> int:
        kept = self._learner.end_state() if self._learner.own_memory else None
        return len(self._memory) if kept is None else len(kept["places"])

    # Keeping --------------------------------------------------------------------------------------------------------

    def _save(self, number: int) -> None:
        if self._checkpoints is None:
            return
        if is_main_process():
            staged = self._checkpoints / ".after.partial"
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            write_learner(self._learner, staged)
            progress = {
                "records": [asdict(record) for record in self._progress.records],
                "memory": self._memory.state_dict(),
            }
            write_json(staged / "progress.json", progress)
            seal(staged, self._checkpoints / f"after-{number}")
            shutil.rmtree(self._checkpoints / f"task-{number}", ignore_errors=True)
            shutil.rmtree(self._checkpoints / f"after-{number - 1}", ignore_errors=True)
        wait_for_everyone()

    def _begun(self, number: int) -> bool:
        if self._checkpoints is None:
            return False
        stages = self._checkpoints / f"task-{number}"
        return stages.is_dir() and any(newest_complete(stage) is not None for stage in stages.iterdir())

    def _restore(self) -> int:
        """Take up the last task that was finished; return how many are."""
        if self._checkpoints is None:
            return 0
        for number in reversed(range(len(self._scenario))):
            place = self._checkpoints / f"after-{number}"
            if is_complete(place):
                read_learner(self._learner, self._sizes[: number + 1], place)
                self._learner.net.to(self._device)
                kept = json.loads((place / "progress.json").read_text(encoding="utf-8"))
                self._progress.records = [TaskRecord(**record) for record in kept["records"]]
                self._memory.load_state_dict(kept["memory"])
                return number + 1
        return 0


def take_encoder(learner: Learner[Any], encoder: Mapping[str, Tensor]) -> None:
    """Load weights into the backbone that learns the first task; it is there already.

    Raises:
        SettingsError: They are those of another network.
    """
    try:
        learner.encoder().load_state_dict(encoder)
    except RuntimeError as error:
        first_line = str(error).strip().splitlines()[-1].strip()
        raise SettingsError(f"the encoder does not fit the network: {first_line}") from None


def _is_finite(net: nn.Module) -> bool:
    return all(bool(value.isfinite().all()) for value in net.state_dict().values())


def _agree(net: nn.Module) -> None:
    """Give every process the running statistics of the first: each has updated them from its own part of a batch."""
    if share()[1] > 1:
        for buffer in net.buffers():
            torch.distributed.broadcast(buffer, 0)


def check_fit(learner: Learner[Any], scenario: Scenario, memory: ExemplarMemory, settings: TrainSettings) -> None:
    """Raise ``SettingsError`` unless method, stream, memory and training go together."""
    name, classes = learner.card.name, len(scenario.classes)
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if scenario.kind != "class":
        raise SettingsError(
            f"classes are learnt from a class-incremental stream, not from a {scenario.kind}-incremental one"
        )
    if any(not len(task.test) for task in scenario):
        raise SettingsError("every task needs test samples to be measured with")
    if learner.needs_memory and memory.is_none:
        raise SettingsError(f"method '{name}' needs an exemplar memory")
    if not memory.is_none and learner.least_exemplars:
        if memory.selection == "reservoir":
            raise SettingsError(f"method '{name}' needs exemplars of every class, which 'reservoir' does not keep")
        if memory.quota(classes) < learner.least_exemplars:
            raise SettingsError(
                f"method '{name}' needs {learner.least_exemplars} exemplars of each of {classes} classes"
            )
        counts = torch.cat([scenario.train.labels[task.train.places] for task in scenario]).bincount(minlength=classes)
        if int(counts.min()) < learner.least_exemplars:
            raise SettingsError(
                f"method '{name}' needs {learner.least_exemplars} training samples of each class, "
                f"'{scenario.classes[int(counts.argmin())]}' has {int(counts.min())}"
            )
    if learner.own_memory:
        if memory.total is None:
            raise SettingsError(f"method '{name}' fills one memory for all classes: give its 'total'")
        if settings.memory_batch is None:
            raise SettingsError(f"method '{name}' needs 'memory_batch', how many remembered samples a batch holds")
        if share()[1] > 1:
            raise SettingsError(f"method '{name}' fills its memory at every step, which several processes cannot share")
    elif not memory.is_none:
        memory.quota(classes)
    if settings.memory_batch is not None and not 0 < settings.memory_batch < settings.batch:
        raise SettingsError(f"memory_batch must be between 1 and {settings.batch - 1}, got {settings.memory_batch}")
    world = share()[1]
    for key, count in (("batch", settings.batch), ("memory_batch", settings.memory_batch or 0)):
        if count % world:
            raise SettingsError(f"{world} processes cannot share a {key} of {count} evenly")
    balances = any(isinstance(layer, TaskBalancedBatchNorm) for layer in learner.net.modules())
    if balances and settings.memory_batch is None:
        raise SettingsError(
            "task-balanced normalisation needs 'memory_batch', how many remembered samples a batch holds"
        )


def resident(images: Tensor, device: torch.device) -> Tensor:
    """Return images on the device where they take at most half of what is free there, else as they are."""
    if device.type != "cuda":
        return images
    free, _ = torch.cuda.mem_get_info(device)
    return images.to(device) if 2 * images.numel() < free else images


def predict(
    learner: Learner[Any], images: Tensor, places: Int[Tensor, " n"], device: torch.device | str = "cpu"
) -> Float[Tensor, "n classes"]:
    """Return the learner's scores for the images at ``places``, on the CPU."""
    with evaluating(learner.net), torch.no_grad():
        parts = [learner.predict(to_unit(images[some].to(device))).float().cpu() for some in places.split(_CHUNK)]
    return torch.cat(parts)


def write_learner(learner: Learner[Any], place: Path) -> None:
    """Write the network and what the method keeps beside it, if anything."""
    for name, tensors in (("net", learner.net.state_dict()), ("method", learner.end_state())):
        if tensors:
            # Copies: safetensors refuses tensors that share memory.
            write_tensors(place / f"{name}.safetensors", {key: one.cpu().clone() for key, one in tensors.items()})


def read_learner(learner: Learner[Any], sizes: tuple[int, ...], place: Path) -> None:
    """Take up what :func:`write_learner` wrote after tasks of these sizes; the learner has seen nothing yet."""
    for number, size in enumerate(sizes):
        learner.grow(number, size)
    learner.net.load_state_dict(load_file(place / "net.safetensors"))
    device = next(learner.net.parameters()).device
    kept = place / "method.safetensors"
    state = load_file(kept) if kept.is_file() else {}
    learner.load_end_state({name: value.to(device) for name, value in state.items()})
    learner.net.eval()


def _means(record: TaskRecord, counts: list[int]) -> dict[str, float]:
    """Accuracy on everything so far and on the newest task."""
    every = sum(one * count for one, count in zip(record.accuracy, counts, strict=True)) / sum(counts)
    return {"accuracy": every, "accuracy_new": record.accuracy[-1]}


def _parameters(module: nn.Module) -> int:
    return sum(one.numel() for one in module.parameters())


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
