"""Learn a stream of segmentation tasks: remember, train, measure, task after task."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from safetensors.torch import load_file
from torch import Tensor, nn

from myosotis.continual.segmentation.batches import DenseAugmentation, SegmentationBatches, plain_batches
from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.memory import Candidate, SegmentationMemory
from myosotis.continual.segmentation.metrics import confusion, group_figures, intersection_over_union
from myosotis.continual.segmentation.scenario import SegmentationStream
from myosotis.data.masks import IGNORE
from myosotis.engine.checkpoint import is_complete, newest_complete, seal
from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.files import write_json, write_tensors
from myosotis.engine.loop import Precision, train
from myosotis.engine.processes import is_main_process, seed_global_generator, share, wait_for_everyone
from myosotis.engine.schedule import Schedule, make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.models.modes import evaluating

_CHUNK = 32  # images looked at together where no gradient is needed


@dataclass(frozen=True)
class SegmentationSettings:
    """How a task is trained.

    Attributes:
        iterations: Steps of each task; None counts epochs.
        first_iterations: Of the first task; None: as many as of the others.
        epochs: Passes over the current images.
        learning_rate: Of the first task.
        later_rate: Of the others; None: the same.
        head_factor: Of the heads' rate, in later tasks.
        optimizer: ``"sgd"`` with Nesterov momentum 0.9, or ``"adamw"``.
        weight_decay: Of either.
        batch: Images in a step, over all processes, remembered ones among them.
        schedule: See :func:`~myosotis.engine.schedule.make_schedule`; it begins anew with each task.
        power: Likewise.
        scale: See :class:`~.batches.DenseAugmentation`, as for the next two.
        crop: Likewise.
        flip: Likewise.
        max_grad_norm: Gradients are clipped to this norm.
        precision: Of the forward pass; losses are in single precision.
        accumulate: Batches whose mean gradient makes one step.
        checkpoint_every: Steps between checkpoints, at most.
    """

    iterations: int | None = None
    first_iterations: int | None = None
    epochs: int = 30
    learning_rate: float = 0.01
    later_rate: float | None = None
    head_factor: float = 1.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: float = 1e-4
    batch: int = 24
    schedule: Schedule = "poly"
    power: float = 0.9
    scale: tuple[float, float] | None = None
    crop: tuple[int, int] | None = None
    flip: bool = True
    max_grad_norm: float | None = None
    precision: Precision = "no"
    accumulate: int = 1
    checkpoint_every: int = 100


@dataclass
class SegmentationRecord:
    """What was measured after a task.

    Attributes:
        confusion: Pixels of each channel so far answered with each.
        test_images: How many they are of: those that show a class so far.
        pseudo_labels: How the network before the task labels its images, by :func:`pseudo_label_figures`; None for the
            first task.
        memory: See :meth:`~.memory.SegmentationMemory.audit`.
        seconds: Of training; None where an earlier session did a part of it.
        steps: Of the optimiser.
        images: That passed through the network in training.
        parameters: Of the network.
    """

    confusion: list[list[int]]
    test_images: int
    pseudo_labels: dict[str, Any] | None
    memory: dict[str, Any]
    seconds: float | None
    steps: int
    images: int
    parameters: int

    def iou(self) -> Tensor:
        """Return the IoU of each channel; NaN for a background that no test pixel is, whatever was answered."""
        table = torch.tensor(self.confusion)
        found = intersection_over_union(table)
        found[0] = torch.where(table[0].sum() > 0, found[0], torch.nan)
        return found


@dataclass
class SegmentationOutcome:
    """A stream that has been learnt.

    Attributes:
        learner: As it is at the end.
        memory: Likewise.
        records: One for each task.
        panels: What the network answered on some test images after each task, by ``task-N``.
    """

    learner: SegmentationLearner[Any]
    memory: SegmentationMemory
    records: list[SegmentationRecord]
    panels: dict[str, Tensor] = field(default_factory=dict)


def learn_segments(
    learner: SegmentationLearner[Any],
    stream: SegmentationStream,
    memory: SegmentationMemory,
    settings: SegmentationSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    panels: Sequence[int] = (),
    checkpoints: Path | None = None,
    log: Callable[[Mapping[str, Any]], None] | None = None,
    say: Callable[[str], None] | None = None,
    on_task: Callable[[int, SegmentationLearner[Any]], None] | None = None,
) -> SegmentationOutcome:
    """Learn the tasks of a stream one after another, and measure after each.

    With ``checkpoints`` a call that was interrupted, even in the middle of a task, goes on from the last state that was
    kept and ends with the same weights as one that was not.

    Args:
        learner: See :func:`~myosotis.continual.segmentation.methods.build_learner`.
        stream: The tasks.
        memory: Still empty.
        settings: Of the training of each task.
        seed: Of order and augmentation.
        device: Of the network.
        panels: Places of test images whose answers are kept after each task.
        checkpoints: Where the state is kept.
        log: Takes the mean loss terms between checkpoints, and the figures after a task.
        say: Takes a line after each task.
        on_task: Takes the number of a task and the learner as it is after it.

    Raises:
        SettingsError: The settings do not suit images, method or memory.
        DivergedError: A weight is not finite at a checkpoint.
    """
    return _Stream(learner, stream, memory, settings, seed, device, panels, checkpoints, log, say, on_task).run()


class _Stream:
    """One call of :func:`learn_segments`."""

    def __init__(
        self,
        learner: SegmentationLearner[Any],
        stream: SegmentationStream,
        memory: SegmentationMemory,
        settings: SegmentationSettings,
        seed: int,
        device: torch.device | str,
        panels: Sequence[int],
        checkpoints: Path | None,
        log: Callable[[Mapping[str, Any]], None] | None,
        say: Callable[[str], None] | None,
        on_task: Callable[[int, SegmentationLearner[Any]], None] | None,
    ) -> None:
        check_segmentation(learner, stream, memory, settings)
        self._learner, self._stream, self._memory, self._settings = learner, stream, memory, settings
        self._seed, self._device, self._shown = seed, torch.device(device), list(panels)
        self._checkpoints, self._log, self._say, self._on_task = checkpoints, log, say, on_task
        self._records: list[SegmentationRecord] = []
        self._panels: dict[str, Tensor] = {}

    def run(self) -> SegmentationOutcome:
        """Do what is not done yet."""
        self._learner.net.to(self._device)
        done = self._restore()
        # Dropout and its like draw from torch's global generator, which is the caller's.
        with torch.random.fork_rng([self._device] if self._device.type == "cuda" else []):
            for number in range(done, len(self._stream.tasks)):
                self._task(number)
        return SegmentationOutcome(self._learner, self._memory, self._records, self._panels)

    # One task -------------------------------------------------------------------------------------------------------

    def _current(self, number: int) -> Int[Tensor, " n"]:
        tasks = self._stream.tasks
        if not self._learner.sees_all:
            return tasks[number].train
        every: Tensor = torch.cat([task.train for task in tasks[: number + 1]]).unique()
        return every

    def _shows(self, number: int) -> tuple[Tensor, list[int]]:
        """What training masks become, and which channels they show then."""
        stream = self._stream
        if self._learner.sees_all:
            visible = stream.seen(number)
            table = stream.test_table(number).clone()
            # What is not known yet is background here too.
            table[:IGNORE][table[:IGNORE] == IGNORE] = 0
            return table, [stream.channel_of[label] for label in visible]
        visible = stream.seen(number) if stream.kind == "sequential" else list(stream.tasks[number].classes)
        return stream.train_table(number), [stream.channel_of[label] for label in visible]

    def _task(self, number: int) -> None:
        learner, stream, settings = self._learner, self._stream, self._settings
        sizes = stream.sizes[: number + 1]
        table, labelled = self._shows(number)
        current = self._current(number)
        started, begun = time.monotonic(), self._begun(number)
        pseudo = pseudo_label_figures(learner, stream, number, self._device) if number else None
        if number and learner.reads_memory:
            self._remember(number - 1)

        def look() -> Iterator[SegmentationBatch]:
            rows = torch.zeros(1, 1 + sum(sizes), dtype=torch.bool, device=self._device)
            rows[:, labelled] = True
            for images, target in plain_batches(stream.train, current.tolist(), table, _CHUNK, self._device):
                yield SegmentationBatch(images, target, rows.expand(len(images), -1), len(images))

        state = SegmentationState(sizes, look, self._seed)
        learner.before_task(state)
        self._take_up(number)
        batches = SegmentationBatches(
            stream.train,
            current,
            table,
            labelled,
            state.channels,
            self._memory.exemplars if number and learner.reads_memory else (),
            settings.batch,
            DenseAugmentation(settings.scale, settings.crop, settings.flip),
            derive_seed(self._seed, "task", number),
            self._device,
        )
        steps = settings.iterations or settings.epochs * -(-batches.per_epoch // settings.accumulate)
        if not number and settings.first_iterations is not None:
            steps = settings.first_iterations
        self._train(number, state, batches, steps)
        learner.after_task(state)
        table_of_test, images = self._measure(number)
        self._records.append(
            SegmentationRecord(
                table_of_test.tolist(),
                images,
                pseudo,
                self._memory.audit({task: self._labels_of(task) for task in range(number + 1)}),
                None if begun else time.monotonic() - started,
                steps,
                steps * settings.accumulate * settings.batch,
                sum(one.numel() for one in learner.net.parameters()),
            )
        )
        if self._on_task is not None:
            self._on_task(number, learner)
        self._save(number)
        iou = self._records[-1].iou()
        mean = group_figures(iou, sizes).all
        if self._log is not None:
            self._log({"phase": "task", "task": number, "miou": mean})
        if self._say is not None:
            shown = " ".join("-" if value != value else f"{value:.2f}" for value in iou.tolist())
            told = "-" if mean is None else f"{mean:.3f}"
            self._say(f"task {number + 1} of {len(stream.tasks)}: mean IoU {told}, of each channel {shown}")

    def _labels_of(self, number: int) -> list[int]:
        """Channels that the masks of a task show."""
        return self._shows(number)[1]

    def _remember(self, number: int) -> None:
        """Let the memory choose among the images of a task."""
        stream = self._stream
        table, labelled = self._shows(number)
        shown = stream.train.areas > 0
        channel_of = {label: channel for label, channel in stream.channel_of.items() if channel in labelled}
        candidates = [
            Candidate(
                place,
                frozenset(channel for label, channel in channel_of.items() if bool(shown[place, label])),
                tuple(labelled),
                number,
            )
            for place in stream.tasks[number].train.tolist()
        ]
        classes = range(1, 1 + sum(stream.sizes[: number + 1]))
        self._memory.update(candidates, classes, lambda place: table[stream.train.masks[place].long()])

    def _train(self, number: int, state: SegmentationState, batches: SegmentationBatches, steps: int) -> None:
        learner, settings = self._learner, self._settings
        rate = settings.learning_rate
        if number and settings.later_rate is not None:
            rate = settings.later_rate
        groups = learner.groups(state, settings.head_factor if number else 1.0)
        listed = [
            {
                "params": list(group.parameters),
                "lr": rate * group.rate,
                "weight_decay": settings.weight_decay * group.decay,
            }
            for group in groups
        ]
        wanted = {id(one) for group in listed for one in group["params"]}  # type: ignore[attr-defined]
        for one in learner.net.parameters():
            one.requires_grad_(id(one) in wanted)
        optimizer: torch.optim.Optimizer
        if settings.optimizer == "sgd":
            optimizer = torch.optim.SGD(listed, lr=rate, momentum=0.9, nesterov=True)
        else:
            optimizer = torch.optim.AdamW(listed, lr=rate)
        scheduler = make_schedule(optimizer, settings.schedule, steps, power=settings.power)
        parts, each = -(-steps // settings.checkpoint_every), settings.accumulate
        every = -(-steps // parts)
        sums: dict[str, Tensor] = {}
        counted = 0

        def loss(net: nn.Module, batch: SegmentationBatch, _: int) -> Mapping[str, Tensor]:
            nonlocal counted
            terms = learner.loss(net, batch)
            if self._log is not None:
                counted += 1
                for name, value in terms.items():
                    sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
            return terms

        def batches_of(part: int) -> Iterator[SegmentationBatch]:
            seed_global_generator(self._seed, "dropout", number, part)
            return batches(part * every * each, min((part + 1) * every, steps) * each)

        def after_part(_: int, step: int) -> None:
            nonlocal counted
            if not all(bool(value.isfinite().all()) for value in learner.net.state_dict().values()):
                raise DivergedError(f"training diverged in task {number + 1}; lower the learning rate")
            if self._log is not None:
                means = {name: value.item() / counted for name, value in sums.items()}
                self._log({"phase": "learn", "task": number, "step": step, **means})
                sums.clear()
                counted = 0

        learner.train_mode(state)
        train(
            learner.net,
            optimizer,
            batches_of,
            loss,
            epochs=parts,
            scheduler=scheduler,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            accumulate=each,
            after_epoch=after_part,
            checkpoints=None if self._checkpoints is None else self._checkpoints / f"task-{number}" / "learn",
            steps_per_epoch=every,
            description=f"task {number + 1} of {len(self._stream.tasks)}",
        )
        learner.net.eval().requires_grad_(requires_grad=True)
        if share()[1] > 1:
            # Each process has updated running statistics from its own part of a batch.
            for buffer in learner.net.buffers():
                torch.distributed.broadcast(buffer, 0)

    # Measuring ------------------------------------------------------------------------------------------------------

    def _measure(self, number: int) -> tuple[Tensor, int]:
        stream, test = self._stream, self._stream.test
        channels = 1 + sum(stream.sizes[: number + 1])
        seen = torch.tensor(stream.seen(number))
        places = (test.areas[:, seen].sum(1) > 0).nonzero().flatten().tolist()
        table = torch.zeros(channels, channels, dtype=torch.long)
        with evaluating(self._learner.net), torch.no_grad():
            for images, target in plain_batches(test, places, stream.test_table(number), _CHUNK, self._device):
                table += confusion(self._learner.scores(images).argmax(dim=1), target, channels).cpu()
            if self._shown:
                parts = [
                    self._learner.scores(images).argmax(dim=1).byte().cpu()
                    for images, _ in plain_batches(test, self._shown, stream.test_table(number), 1, self._device)
                ]
                self._panels |= {f"task-{number + 1}-{at}": part[0] for at, part in enumerate(parts)}
        return table, len(places)

    # Keeping --------------------------------------------------------------------------------------------------------

    def _save(self, number: int) -> None:
        if self._checkpoints is None:
            return
        if is_main_process():
            staged = self._checkpoints / ".after.partial"
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            write_segmenter(self._learner, staged)
            self._memory.save(staged)
            if self._panels:
                write_tensors(staged / "panels.safetensors", self._panels)
            write_json(staged / "records.json", [asdict(record) for record in self._records])
            seal(staged, self._checkpoints / f"after-{number}")
            shutil.rmtree(self._checkpoints / f"task-{number}", ignore_errors=True)
            shutil.rmtree(self._checkpoints / f"after-{number - 1}", ignore_errors=True)
        wait_for_everyone()

    def _begun(self, number: int) -> bool:
        if self._checkpoints is None:
            return False
        return newest_complete(self._checkpoints / f"task-{number}" / "learn") is not None

    def _take_up(self, number: int) -> None:
        """Keep what a method has measured before a task; everything else of that moment is made again alike."""
        if self._checkpoints is None:
            return
        place = self._checkpoints / f"task-{number}" / "begin.safetensors"
        if place.is_file():
            self._learner.load_task_state(load_file(place))
        elif is_main_process() and (state := self._learner.task_state()):
            place.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(place, state)
        wait_for_everyone()

    def _restore(self) -> int:
        """Take up the last task that was finished; return how many are."""
        if self._checkpoints is None:
            return 0
        for number in reversed(range(len(self._stream.tasks))):
            place = self._checkpoints / f"after-{number}"
            if is_complete(place):
                read_segmenter(self._learner, self._stream.sizes[: number + 1], place)
                self._learner.net.to(self._device)
                self._memory.load(place, json.loads((place / "memory.json").read_text(encoding="utf-8")))
                kept = json.loads((place / "records.json").read_text(encoding="utf-8"))
                self._records = [SegmentationRecord(**record) for record in kept]
                if (place / "panels.safetensors").is_file():
                    self._panels = load_file(place / "panels.safetensors")
                return number + 1
        return 0


def pseudo_label_figures(
    learner: SegmentationLearner[Any], stream: SegmentationStream, number: int, device: torch.device | str
) -> dict[str, Any]:
    """Say how well a network labels old classes in the images of a task to come, seen before and not.

    The truth is read for this figure alone; no training sees it.

    Args:
        learner: As it is before the task.
        stream: The tasks.
        number: Of the task, at least 1.
        device: Of the network.

    Returns:
        For ``"seen"`` and ``"unseen"`` images: how many they are; pixels of old classes, and the share of them that the
        network gets right; pixels of classes that are new now or come later, and the share of them that it takes for
        old ones. None where there is no pixel.
    """
    old = stream.seen(number - 1)
    known = 1 + len(old)
    table = torch.full((256,), known, dtype=torch.uint8)  # classes that are not old
    for label, channel in stream.channel_of.items():
        if label in old:
            table[label] = channel
    table[0], table[IGNORE] = 0, IGNORE
    earlier = {place for task in stream.tasks[:number] for place in task.train.tolist()}
    places = stream.tasks[number].train.tolist()
    found = {}
    with evaluating(learner.net), torch.no_grad():
        for name, some in (
            ("seen", [place for place in places if place in earlier]),
            ("unseen", [place for place in places if place not in earlier]),
        ):
            right = count = false = others = 0
            for images, target in plain_batches(stream.train, some, table, _CHUNK, torch.device(device)):
                answer = learner.scores(images).argmax(dim=1)
                of_old = (target > 0) & (target < known)
                other = target == known
                count, right = count + int(of_old.sum()), right + int((answer == target)[of_old].sum())
                others, false = others + int(other.sum()), false + int((answer > 0)[other].sum())
            found[name] = {
                "images": len(some),
                "old_pixels": count,
                "right": right / count if count else None,
                "other_pixels": others,
                "taken_for_old": false / others if others else None,
            }
    return found


def check_segmentation(
    learner: SegmentationLearner[Any],
    stream: SegmentationStream,
    memory: SegmentationMemory,
    settings: SegmentationSettings,
) -> None:
    """Raise ``SettingsError`` unless method, stream, memory and training go together."""
    name = learner.card.name
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if learner.reads_memory and not memory.total:
        raise SettingsError(f"method '{name}' needs a 'memory'")
    if memory.total and not learner.reads_memory:
        raise SettingsError(f"method '{name}' reads no exemplars: leave 'memory' out")
    if len(set(stream.train.sizes)) > 1 and settings.crop is None:
        raise SettingsError("training images differ in size: give 'training.crop', or a 'size' of the data")
    if settings.scale is not None and settings.crop is None:
        raise SettingsError("'training.scale' needs 'training.crop'")
    world = share()[1]
    halves = 2 if learner.reads_memory else 1
    if settings.batch % (world * halves):
        raise SettingsError(
            f"'training.batch' is {settings.batch}; it must divide into "
            + (f"current and remembered halves of {world} processes" if halves == 2 else f"{world} processes")
        )


def write_segmenter(learner: SegmentationLearner[Any], place: Path) -> None:
    """Write the network and what the method keeps beside it, if anything."""
    for name, tensors in (("net", learner.net.state_dict()), ("method", learner.end_state())):
        if tensors:
            # Copies: safetensors refuses tensors that share memory.
            write_tensors(place / f"{name}.safetensors", {key: one.cpu().clone() for key, one in tensors.items()})


def read_segmenter(learner: SegmentationLearner[Any], sizes: Sequence[int], place: Path) -> None:
    """Take up what :func:`write_segmenter` wrote after tasks of these sizes; the learner has seen nothing yet."""
    for number, size in enumerate(sizes):
        learner.grow(number, size)
    learner.net.load_state_dict(load_file(place / "net.safetensors"))
    device = next(learner.net.parameters()).device
    kept = place / "method.safetensors"
    state = load_file(kept) if kept.is_file() else {}
    learner.load_end_state({name: value.to(device) for name, value in state.items()})
    learner.net.eval()
