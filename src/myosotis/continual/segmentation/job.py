"""The job of ``learn-segments``."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch.nn import functional

from myosotis.continual.job import StreamJob, try_images
from myosotis.continual.segmentation.checks import check_segmentation
from myosotis.continual.segmentation.config import SegmentLearningConfig
from myosotis.continual.segmentation.inputs import (
    describe_segment_learner,
    make_stream,
    mask_fingerprints,
    read_mask_sets,
)
from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.metrics import channel_iou, forgetting, group_figures
from myosotis.continual.segmentation.result import SegmentResult
from myosotis.continual.segmentation.saved import make_segment_learner, save_segment_learner
from myosotis.continual.segmentation.training import SegmentationOutcome, learn_segments
from myosotis.continual.stream import StreamOptions
from myosotis.engine.errors import settings_as_input
from myosotis.engine.files import write_tensors
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.forecast import Phase, steps_of, training_step
from myosotis.engine.processes import device, is_main_process, processes
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.comparison import compared
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.learning import KEPT_MARGIN, LearningVerdict, difference_of, learning_verdict
from myosotis.models.weight_files import weights_inputs

_STRIDE = 32
"""Largest factor by which networks shrink images."""


class SegmentLearningJob(StreamJob[SegmentLearningConfig, SegmentationLearner[Any], SegmentationOutcome]):
    """One run of ``learn-segments``; see :class:`~myosotis.engine.job.Job`."""

    kind = "learn-segments"
    Result = SegmentResult

    def prepare(self) -> None:
        config = self._config
        self._check_available()
        train, test = read_mask_sets(config)
        self._stream = stream = make_stream(config, train, test)
        tasks = " | ".join(
            f"{len(task.train)} with {', '.join(train.classes[label - 1] for label in task.classes)}"
            for task in stream.tasks
        )
        self._say(f"{len(train)} training and {len(test)} test images, {len(stream.tasks)} tasks: {tasks[:300]}")
        self._spec = describe_segment_learner(config, stream)
        learner = make_segment_learner(self._spec, pretrained=config.model.source)
        with settings_as_input():
            check_segmentation(learner, stream, self._memory(), config.training)
        learner.grow(0, 1)
        self._try_images(learner)

    def _memory(self) -> SegmentationMemory:
        return SegmentationMemory(self._config.memory.total, self._config.seed)

    def _try_images(self, learner: SegmentationLearner[Any]) -> None:
        """Pass an image of each size through the network."""
        crop = self._config.training.crop
        sizes = {*self._stream.train.sizes, *self._stream.test.sizes, *([crop] if crop is not None else [])}
        # The largest size of each remainder by a deep stride, and the smallest of all; other sizes behave the same.
        by_remainder = {(height % _STRIDE, width % _STRIDE): (height, width) for height, width in sorted(sizes)}
        for height, width in (*by_remainder.values(), min(sizes)):
            try_images(learner.net, torch.zeros(1, self._stream.train.channels, height, width))

    def phases(self) -> Sequence[Phase]:
        """Return the steps of all tasks: cross-entropy on the first images."""
        training, stream = self._config.training, self._stream
        learner = make_segment_learner(self._spec)
        learner.grow(0, len(stream.tasks[0].classes))
        net = learner.net.to(device()).train()
        batch = max(1, training.batch_size // processes())
        height, width = training.crop or stream.train.images[0].shape[-2:]
        images = torch.rand(batch, stream.train.channels, height, width, device=device())
        target = torch.zeros(batch, height, width, dtype=torch.long, device=device())
        step = training_step(net, lambda: functional.cross_entropy(net(images).logits, target))
        sizes = [len(task.train) for task in stream.tasks]
        if training.iterations is None:
            count = steps_of(sizes, training.batch_size, training.epochs)
        else:
            count = (training.first_iterations or training.iterations) + training.iterations * (len(sizes) - 1)
        return [Phase("training", count * training.accumulate, step)]

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of both sets, and of the partition, and the hash of a file of weights."""
        partition = self._stream.partition
        model = self._config.model
        library = "segmentation-models-pytorch" if model.library == "smp" else model.library
        weights = weights_inputs(model.architecture, model.source, library)
        known = {**mask_fingerprints(self._stream, salt), **weights}
        if partition is None:
            return known
        return {**known, "partition": salted_fingerprint(json.dumps(asdict(partition)), salt)}

    def learn(self, **options: Unpack[StreamOptions]) -> SegmentationOutcome:
        """Learn the classes; each warning is reported once."""
        if self._stream.partition is not None and is_main_process():
            self._stream.partition.save(self._run.path / "partition.json")
        self._panels = self._choose_panels()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            outcome = learn_segments(
                make_segment_learner(self._spec, pretrained=self._config.model.source),
                self._stream,
                self._memory(),
                self._config.training,
                panels=self._panels,
                **options,
            )
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            self._say(f"warning: {text}")
        if self._panels and is_main_process():
            write_tensors(self._run.path / "panels.safetensors", self._pictures(outcome))
        return outcome

    def save(self, learner: SegmentationLearner[Any], tasks: int, path: Path) -> None:
        save_segment_learner(learner, replace(self._spec, sizes=self._spec.sizes[:tasks]), path)

    def _choose_panels(self) -> list[int]:
        """Indices of test images that show most classes, in a random order by name."""
        test = self._stream.test
        sets = test.label_sets()
        order = sorted(
            range(len(test)), key=lambda image: (-min(len(sets[image]), 3), derive_seed(0, "panel", test.names[image]))
        )
        return order[: self._config.panels]

    def _pictures(self, outcome: SegmentationOutcome) -> dict[str, torch.Tensor]:
        """The selected test images, their masks and the predictions after each task."""
        test, table = self._stream.test, self._stream.test_table(len(self._stream.tasks) - 1)
        pictures = dict(outcome.panels)
        for panel, image in enumerate(self._panels):
            pictures[f"image-{panel}"] = test.images[image]
            pictures[f"truth-{panel}"] = table[test.masks[image].long()]
        return {name: picture.contiguous() for name, picture in pictures.items()}

    def result(self, outcome: SegmentationOutcome) -> dict[str, Any]:
        stream, records = self._stream, outcome.records
        history = [channel_iou(record.confusion) for record in records]
        steps = [group_figures(iou, stream.sizes[: index + 1]) for index, iou in enumerate(history)]
        lost = forgetting(history)
        known = [value for value in lost[1:] if value is not None]
        return {
            "scenario": stream.kind,
            "unseen": stream.unseen,
            "classes": list(stream.classes),
            "tasks": [list(stream.classes[start - 1 : stop - 1]) for start, stop in _channel_ranges(stream.sizes)],
            "reappearance": stream.reappearance,
            "metrics": {**steps[-1].model_dump(), "forgetting": sum(known) / len(known) if known else None},
            "figures_after_task": steps,
            "iou": [[None if value != value else value for value in iou.tolist()] for iou in history],
            "forgetting": lost,
            "confusion": records[-1].confusion,
            "verdict": _verdict([record.intervals for record in records]),
            "pseudo_labels": [record.pseudo_labels for record in records],
            "memory": [record.memory for record in records],
            "test_images": [record.test_images for record in records],
            "panels": [stream.test.names[image] for image in self._panels],
            "lineage": {
                "data": mask_fingerprints(stream, self._run.salt),
                "model_out": weights_hash(outcome.learner.net),
            },
            "cost": self.stream_cost(records, parameters=records[-1].parameters),
        }


def _verdict(intervals: Sequence[Mapping[str, Interval]]) -> LearningVerdict:
    """Mean IoU against the most frequent channel everywhere, and of the first task against the time of learning.

    The ends of two-sided intervals stand for one-sided bounds, which errs towards *not shown*.
    """
    first, last = intervals[0], intervals[-1]
    learnt, kept = [], []
    if "all" in last:
        learnt.append(
            compared(
                "mean IoU of all channels",
                last["all"],
                last["majority"],
                last["above_majority"],
                "above",
                against_of="predicting the most frequent channel everywhere",
            )
        )
    if len(intervals) > 1 and "base" in first and "base" in last:
        kept.append(
            compared(
                "mean IoU of the classes of the first task",
                last["base"],
                first["base"],
                difference_of(last["base"], first["base"]),
                "at least",
                against_of="right after they were learnt",
                margin=KEPT_MARGIN,
            )
        )
    return learning_verdict(learnt, kept)


def _channel_ranges(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Start and stop of the channels of each task; channel 0 is the background."""
    return [(1 + sum(sizes[:index]), 1 + sum(sizes[: index + 1])) for index in range(len(sizes))]
