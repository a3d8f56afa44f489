"""The whole job: read, split into tasks, learn them one after another, measure, keep the result."""

import json
import shutil
import time
import warnings
from dataclasses import asdict, replace
from typing import Any

import torch

from myosotis.continual.segmentation.config import SegmentLearningConfig
from myosotis.continual.segmentation.inputs import (
    describe_segment_learner,
    make_stream,
    mask_fingerprints,
    read_mask_sets,
    segmentation_settings,
)
from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.metrics import forgetting, group_figures
from myosotis.continual.segmentation.report import KIND
from myosotis.continual.segmentation.saved import make_segment_learner, save_segment_learner
from myosotis.continual.segmentation.training import SegmentationOutcome, check_segmentation, learn_segments
from myosotis.engine.checkpoint import seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_tensors
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import device, is_main_process
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed

_STRIDE = 32
"""The deepest by which networks shrink images."""


class SegmentLearningJob(Job[SegmentLearningConfig]):
    """One run of ``myosotis learn segments``; see :class:`~myosotis.engine.job.Job`.

    The paths of its configuration are absolute, see :func:`~myosotis.continual.segmentation.config.resolve_paths`.
    """

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        self._check_available([*config.data.train.paths, *config.data.test.paths, config.scenario.partition])
        train, test = read_mask_sets(config)
        self._stream = make_stream(config, train, test)
        stream = self._stream
        told = " | ".join(
            f"{len(task.train)} with {', '.join(train.classes[label - 1] for label in task.classes)}"
            for task in stream.tasks
        )
        self._say(f"{len(train)} training and {len(test)} test images, {len(stream.tasks)} tasks: {told[:300]}")
        self._spec = describe_segment_learner(config, stream)
        learner = make_segment_learner(self._spec, pretrained=config.model.pretrained)
        with settings_as_input():
            check_segmentation(learner, stream, self._memory(), segmentation_settings(config))
        self._try_image(learner)

    def _memory(self) -> SegmentationMemory:
        return SegmentationMemory(self._config.memory, self._config.seed)

    def _try_image(self, learner: SegmentationLearner[Any]) -> None:
        """Let the network see an image of each size: what does not fit must show before anything is written."""
        learner.grow(0, 1)
        crop = self._config.training.crop
        sizes = {*self._stream.train.sizes, *self._stream.test.sizes, *([crop] if crop is not None else [])}
        # The largest and the smallest of each remainder by a deep stride; sizes in between are cut alike.
        some = {(height % _STRIDE, width % _STRIDE): (height, width) for height, width in sorted(sizes)}
        for height, width in (*some.values(), min(sizes)):
            image = torch.zeros(1, self._stream.train.channels, height, width)
            try:
                with torch.no_grad():
                    learner.net.eval()(image)
            except (RuntimeError, AssertionError, ValueError) as error:
                first_line = (str(error) or type(error).__name__).splitlines()[0]
                raise InputError(f"the model does not take images of {width}x{height}: {first_line}") from None

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
            DivergedError: Training diverged.
        """
        config, started = self._config, time.monotonic()
        run = self._open(config.seed)
        data = mask_fingerprints(self._stream, run.salt)
        given = self._stream.partition
        partition = {} if given is None else {"partition": salted_fingerprint(json.dumps(asdict(given)), run.salt)}
        run.check_inputs({**data, **partition})
        if self._finished_already():
            return run
        if self._stream.partition is not None and is_main_process():
            self._stream.partition.save(run.path / "partition.json")
        learner = make_segment_learner(self._spec, pretrained=config.model.pretrained)
        panels = self._panels()
        with self._timed("learn"), settings_as_input(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            outcome = learn_segments(
                learner,
                self._stream,
                self._memory(),
                segmentation_settings(config),
                seed=config.seed,
                device=device(),
                panels=panels,
                checkpoints=run.checkpoints,
                log=run.log,
                say=self._say,
                on_task=self._keep_learner if config.keep_learners else None,
            )
        for text in dict.fromkeys(str(one.message) for one in caught):
            self._say(f"warning: {text}")
        if is_main_process():
            staged = run.path / ".model.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_segment_learner(outcome.learner, self._spec, staged)
            seal(staged, run.path / "model")
            if panels:
                write_tensors(run.path / "panels.safetensors", self._shown(panels, outcome))
        run.finish(self._result(outcome, data, panels, started))
        if is_main_process():
            for place in (*run.checkpoints.glob("after-*"), *run.checkpoints.glob("task-*")):
                shutil.rmtree(place, ignore_errors=True)
        return run

    def _panels(self) -> list[int]:
        """Test images that show most classes, drawn among these by name."""
        test = self._stream.test
        sets = test.label_sets()
        order = sorted(
            range(len(test)), key=lambda place: (-min(len(sets[place]), 3), derive_seed(0, "panel", test.names[place]))
        )
        return order[: self._config.panels]

    def _shown(self, panels: list[int], outcome: SegmentationOutcome) -> dict[str, torch.Tensor]:
        test, table = self._stream.test, self._stream.test_table(len(self._stream.tasks) - 1)
        found = dict(outcome.panels)
        for at, place in enumerate(panels):
            found[f"image-{at}"] = test.images[place]
            found[f"truth-{at}"] = table[test.masks[place].long()]
        return {name: one.contiguous() for name, one in found.items()}

    def _keep_learner(self, number: int, learner: SegmentationLearner[Any]) -> None:
        if is_main_process():
            staged = self._run.path / ".learner.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_segment_learner(learner, replace(self._spec, sizes=self._spec.sizes[: number + 1]), staged)
            self._run.learners.mkdir(exist_ok=True)
            seal(staged, self._run.learners / f"task-{number + 1}")

    def _result(
        self, outcome: SegmentationOutcome, data: dict[str, str], panels: list[int], started: float
    ) -> dict[str, Any]:
        config, stream, records = self._config, self._stream, outcome.records
        history = [record.iou() for record in records]
        steps = [asdict(group_figures(iou, stream.sizes[: number + 1])) for number, iou in enumerate(history)]
        lost = forgetting(history)
        known = [value for value in lost[1:] if value is not None]
        return {
            "kind": KIND,
            "name": config.name,
            "method": config.method.name,
            "seed": config.seed,
            "scenario": stream.kind,
            "unseen": stream.unseen,
            "classes": list(stream.classes),
            "tasks": list(stream.sizes),
            "reappearance": asdict(stream.reappearance),
            "metrics": {**steps[-1], "forgetting": sum(known) / len(known) if known else None},
            "figures_after_task": steps,
            "iou": [[None if value != value else value for value in iou.tolist()] for iou in history],
            "forgetting": lost,
            "confusion": records[-1].confusion,
            "pseudo_labels": [record.pseudo_labels for record in records],
            "memory": [record.memory for record in records],
            "test_images": [record.test_images for record in records],
            "panels": [stream.test.names[place] for place in panels],
            "lineage": {"data": data, "model_out": weights_hash(outcome.learner.net)},
            "cost": {
                "seconds": [record.seconds for record in records],
                "job_seconds": self._seconds(),
                "last_session_seconds": time.monotonic() - started,
                "steps": sum(record.steps for record in records),
                "images": sum(record.images for record in records),
                "parameters": records[-1].parameters,
                "peak_memory_bytes": peak_memory(),
            },
        }
