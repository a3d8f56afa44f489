"""Learn a stream of segmentation tasks: update the memory, train and measure, task after task."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import torch
from jaxtyping import Int
from safetensors.torch import load_file
from torch import Tensor

from myosotis.continual.segmentation.batches import DenseAugmentation, SegmentationBatches, plain_batches
from myosotis.continual.segmentation.checks import check_segmentation
from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.memory import Candidate, SegmentationMemory
from myosotis.continual.segmentation.metrics import (
    channel_iou,
    confusion,
    group_figures,
    mean_iou_over_images,
)
from myosotis.continual.segmentation.pseudo_label_figures import pseudo_label_figures
from myosotis.continual.segmentation.result import SegmentationRecord
from myosotis.continual.segmentation.scenario import SegmentationStream
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.continual.stream import StreamOptions, StreamTrainer
from myosotis.data.masks import IGNORE
from myosotis.engine.files import write_tensors
from myosotis.engine.processes import is_main_process, wait_for_everyone
from myosotis.engine.schedule import make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.engine.tabular import Tabular
from myosotis.models.modes import evaluating

_CHUNK = 32  # images per forward pass where no gradient is needed


@dataclass(repr=False)
class SegmentationOutcome(Tabular):
    """A stream that has been learnt.

    Attributes:
        learner: Learner after the last task.
        memory: Memory after the last task.
        records: Measurements after each task.
        panels: Predictions on some test images after each task, by ``task-N-IMAGE``.
    """

    learner: SegmentationLearner[Any]
    memory: SegmentationMemory
    records: list[SegmentationRecord]
    panels: dict[str, Tensor] = field(default_factory=dict)

    def headline(self) -> str:
        """Return the final mean IoU, over the channels that the test shows."""
        iou = channel_iou(self.records[-1].confusion)
        return f"mean IoU {float(iou.nanmean()):.3f} of {len(iou)} channels after {len(self.records)} tasks"

    def rows(self) -> list[dict[str, Any]]:
        """Return the IoU of each channel after each task; None where there is none, or before its task."""
        channels = range(len(self.records[-1].confusion))
        rows = []
        for number, record in enumerate(self.records, start=1):
            iou = [None if value != value else value for value in channel_iou(record.confusion).tolist()]
            named = {f"channel {channel}": iou[channel] if channel < len(iou) else None for channel in channels}
            rows.append({"after task": number, **named})
        return rows


def learn_segments(
    learner: SegmentationLearner[Any],
    stream: SegmentationStream,
    memory: SegmentationMemory,
    settings: SegmentationSettings,
    *,
    panels: Sequence[int] = (),
    **options: Unpack[StreamOptions],
) -> SegmentationOutcome:
    """Learn the tasks of a stream one after another, and measure after each.

    Args:
        learner: New learner: an instance of a subclass of
            :class:`~myosotis.continual.segmentation.learner.SegmentationLearner`, or what
            :func:`~myosotis.continual.segmentation.methods.build_learner` returns for a name.
        stream: Stream of tasks.
        memory: Empty memory.
        settings: Training of each task.
        panels: Indices of test images for the predictions of the report.
        options: See :class:`~myosotis.continual.stream.StreamOptions`.

    Raises:
        SettingsError: The settings do not suit images, method or memory.
        DivergedError: A weight or a loss is not finite at a checkpoint.
    """
    trainer = _SegmentationTrainer(learner, stream, memory, settings, panels, **options)
    return SegmentationOutcome(learner, memory, trainer.run(), trainer.panels)


class _SegmentationTrainer(StreamTrainer[SegmentationLearner[Any], SegmentationRecord]):
    """One call of :func:`learn_segments`."""

    Record = SegmentationRecord

    def __init__(
        self,
        learner: SegmentationLearner[Any],
        stream: SegmentationStream,
        memory: SegmentationMemory,
        settings: SegmentationSettings,
        shown: Sequence[int],
        **options: Unpack[StreamOptions],
    ) -> None:
        check_segmentation(learner, stream, memory, settings)
        options.setdefault("checkpoint_every", 100)
        super().__init__(learner, stream.sizes, **options)
        self._stream, self._memory, self._settings = stream, memory, settings
        self._shown = list(shown)
        self.panels: dict[str, Tensor] = {}

    def learn_task(self, index: int) -> SegmentationRecord:
        learner, stream, settings = self.learner, self._stream, self._settings
        sizes = self.sizes[: index + 1]
        table, labelled = self._visible(index)
        current = self._current(index)
        started, interrupted = time.monotonic(), self.interrupted(index)
        pseudo = pseudo_label_figures(learner, stream, index, self.device) if index else None
        if index and learner.reads_memory:
            self._remember(index - 1)

        def plain() -> Iterator[SegmentationBatch]:
            rows = torch.zeros(1, 1 + sum(sizes), dtype=torch.bool, device=self.device)
            rows[:, labelled] = True
            for images, target in plain_batches(stream.train, current.tolist(), table, _CHUNK, self.device):
                yield SegmentationBatch(images, target, rows.expand(len(images), -1), len(images))

        state = SegmentationState(sizes, plain, self.seed)
        learner.before_task(state)
        self._share_task_state(index)
        batches = SegmentationBatches(
            stream.train,
            current,
            table,
            labelled,
            state.channels,
            self._memory.exemplars if index and learner.reads_memory else (),
            settings.batch_size,
            DenseAugmentation(settings.scale, settings.crop, settings.flip),
            derive_seed(self.seed, "task", index),
            self.device,
        )
        steps = settings.iterations or settings.epochs * -(-batches.per_epoch // settings.accumulate)
        if not index and settings.first_iterations is not None:
            steps = settings.first_iterations
        self._train(index, state, batches, steps)
        learner.after_task(state)
        confusion_table, tables = self._measure(index)
        return SegmentationRecord(
            confusion=confusion_table.tolist(),
            test_images=len(tables),
            pseudo_labels=pseudo,
            memory=self._memory.audit({task: self._visible(task)[1] for task in range(index + 1)}),
            seconds=None if interrupted else time.monotonic() - started,
            steps=steps,
            images=steps * settings.accumulate * settings.batch_size,
            parameters=sum(weight.numel() for weight in learner.net.parameters()),
            intervals=mean_iou_over_images(tables, sizes[0]),
        )

    def figures(self, record: SegmentationRecord) -> tuple[dict[str, Any], str]:
        """Return the mean IoU, and that of each channel."""
        iou = channel_iou(record.confusion)
        known = next(count for count in range(1, 1 + len(self.sizes)) if 1 + sum(self.sizes[:count]) == len(iou))
        mean = group_figures(iou, self.sizes[:known]).all
        shown = " ".join("-" if value != value else f"{value:.2f}" for value in iou.tolist())
        return {"miou": mean}, f"mean IoU {'-' if mean is None else f'{mean:.3f}'}, of each channel {shown}"

    def save_state(self, path: Path) -> None:
        """Write the memory and the predictions for the report."""
        self._memory.save(path)
        if self.panels:
            write_tensors(path / "panels.safetensors", self.panels)

    def load_state(self, path: Path) -> None:
        self._memory.load(path)
        if (path / "panels.safetensors").is_file():
            self.panels = load_file(path / "panels.safetensors")

    def _current(self, index: int) -> Int[Tensor, " n"]:
        tasks = self._stream.tasks
        if not self.learner.sees_all:
            return tasks[index].train
        indices: Tensor = torch.cat([task.train for task in tasks[: index + 1]]).unique()
        return indices

    def _visible(self, index: int) -> tuple[Tensor, list[int]]:
        """The table of the training masks of a task, and the channels that they label."""
        stream = self._stream
        if self.learner.sees_all:
            classes = stream.known_classes(index)
            table = stream.test_table(index).clone()
            # Later classes are background here too.
            table[:IGNORE][table[:IGNORE] == IGNORE] = 0
            return table, [stream.channel_of[label] for label in classes]
        classes = stream.known_classes(index) if stream.kind == "sequential" else list(stream.tasks[index].classes)
        return stream.train_table(index), [stream.channel_of[label] for label in classes]

    def _remember(self, index: int) -> None:
        """Update the memory with the images of a task."""
        stream = self._stream
        table, labelled = self._visible(index)
        shown = stream.train.areas > 0
        channel_of = {label: channel for label, channel in stream.channel_of.items() if channel in labelled}
        candidates = [
            Candidate(
                image,
                frozenset(channel for label, channel in channel_of.items() if bool(shown[image, label])),
                tuple(labelled),
                index,
            )
            for image in stream.tasks[index].train.tolist()
        ]
        classes = range(1, 1 + sum(self.sizes[: index + 1]))
        self._memory.update(candidates, classes, lambda image: table[stream.train.masks[image].long()])

    def _train(self, index: int, state: SegmentationState, batches: SegmentationBatches, steps: int) -> None:
        learner, settings = self.learner, self._settings
        optimizer = self._optimizer(index, state)
        scheduler = make_schedule(optimizer, settings.schedule, steps, power=settings.power)
        parts, accumulate = -(-steps // self.checkpoint_every), settings.accumulate
        size = -(-steps // parts)
        learner.train_mode(state)
        self.fit(
            index,
            lambda part: batches(part * size * accumulate, min((part + 1) * size, steps) * accumulate),
            learner.loss,
            optimizer,
            scheduler,
            settings,
            epochs=parts,
            steps_per_epoch=size,
            dropout=(self.seed, "dropout", index),
            unit="part",
        )
        learner.net.requires_grad_(requires_grad=True)

    def _optimizer(self, index: int, state: SegmentationState) -> torch.optim.Optimizer:
        """The optimiser of the parameters that a task trains; all others are frozen."""
        settings, learner = self._settings, self.learner
        rate = settings.learning_rate
        if index and settings.later_rate is not None:
            rate = settings.later_rate
        groups: list[dict[str, Any]] = [
            {
                "params": list(group.parameters),
                "lr": rate * group.rate,
                "weight_decay": settings.weight_decay * group.decay,
            }
            for group in learner.groups(state, settings.head_factor if index else 1.0)
        ]
        trained = {id(weight) for group in groups for weight in group["params"]}
        for weight in learner.net.parameters():
            weight.requires_grad_(id(weight) in trained)
        if settings.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(groups, lr=rate)

    def _measure(self, index: int) -> tuple[Tensor, Tensor]:
        """The confusion matrix, and of each image the pixels of each channel: right ones, true ones, predicted ones."""
        stream, test, learner = self._stream, self._stream.test, self.learner
        channels = 1 + sum(self.sizes[: index + 1])
        images = (test.areas[:, torch.tensor(stream.known_classes(index))].sum(1) > 0).nonzero().flatten().tolist()
        table, of_test = torch.zeros(channels, channels, dtype=torch.long), stream.test_table(index)
        parts: list[Tensor] = []
        with evaluating(learner.net), torch.no_grad():
            for batch, target in plain_batches(test, images, of_test, _CHUNK, self.device):
                for predicted, truth in zip(learner.scores(batch).argmax(dim=1), target, strict=True):
                    own = confusion(predicted, truth, channels).cpu()
                    table += own
                    parts.append(torch.stack([own.diagonal(), own.sum(1), own.sum(0)]))
            for panel, (image, _) in enumerate(plain_batches(test, self._shown, of_test, 1, self.device)):
                self.panels[f"task-{index + 1}-{panel}"] = learner.scores(image).argmax(dim=1).byte().cpu()[0]
        return table, torch.stack(parts) if parts else torch.zeros(0, 3, channels, dtype=torch.long)

    def _share_task_state(self, index: int) -> None:
        """Save the tensors that a method computed before a task, or restore them; all else is recomputed."""
        folder = self.stage_checkpoints(index)
        if folder is None:
            return
        path = folder.parent / "begin.safetensors"
        if path.is_file():
            self.learner.load_task_state(load_file(path))
        elif is_main_process() and (state := self.learner.task_state()):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(path, state)
        wait_for_everyone()
