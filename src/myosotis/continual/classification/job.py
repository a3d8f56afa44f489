"""The whole job: read, split into tasks, learn them one after another, measure, keep the result."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.inputs import (
    describe_learner,
    make_memory,
    make_scenario,
    train_settings,
)
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.outcome import accuracy_interval, confusion, figures, old_and_new_errors
from myosotis.continual.classification.report import KIND
from myosotis.continual.classification.saved import load_first_encoder, make_learner, save_learner
from myosotis.continual.classification.training import Learned, check_fit, learn_classes, take_encoder
from myosotis.continual.scenario import Scenario
from myosotis.data.sets import input_fingerprints, read_sets, repeated_images, repeated_warning, set_fingerprints
from myosotis.engine.checkpoint import seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import device, is_main_process
from myosotis.engine.run import Run
from myosotis.engine.tracking import Trackers, check_trackers
from myosotis.models.image_classifier import load_classifier
from myosotis.report.runs import flatten


class ClassLearningJob(Job[ClassLearningConfig]):
    """One run of ``myosotis learn classes``; see :class:`~myosotis.engine.job.Job`.

    The paths of its configuration are absolute, see :func:`~myosotis.continual.classification.config.resolve_paths`.
    """

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        self._check_available([*config.data.train.paths, *config.data.test.paths, config.model.init_from])
        check_trackers(config.trackers)
        train, test = read_sets(config.data)
        self._skipped = {"train": len(train.skipped), "test": len(test.skipped)}
        for name, images in (("training", train), ("test", test)):
            if images.skipped:
                count, first = len(images.skipped), images.skipped[0]
                self._say(f"{count} {name} images cannot be read and are left out, {first} first")
        self._scenario = make_scenario(config, train, test)
        found = self._scenario
        assert found.test is not None  # noqa: S101 - it has just been given
        self._repeated = repeated_images(found.train, found.test)
        if self._repeated:
            self._say(repeated_warning(self._repeated, len(found.test)))
        self._say(f"{len(found.train)} training and {len(found.test)} test images, {len(found)} tasks: {_told(found)}")
        source = config.model.init_from
        self._encoder = None if source is None else load_first_encoder(Path(source))
        with settings_as_input():
            memory = make_memory(config)
            self._spec = describe_learner(config, self._scenario, self._encoder)
            check_fit(make_learner(self._spec), self._scenario, memory, train_settings(config))
        self._try_images()

    def _try_images(self) -> None:
        """Let the network see one image: what does not fit must show before anything is written."""
        # Pre-trained weights are asked for here, since asking may fail.
        learner = make_learner(self._spec, pretrained=self._config.model.pretrained)
        learner.grow(0, 1)
        if self._encoder is not None:
            with settings_as_input("model.init_from"):
                take_encoder(learner, self._encoder.weights)
        train = self._scenario[0].train
        images = train.dataset.subset([int(train.places[0])]).pixels()
        try:
            with torch.no_grad():
                learner.net.eval()(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"the model does not take these images: {first_line}") from None

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
            DivergedError: Training diverged.
        """
        config, started = self._config, time.monotonic()
        run = self._open(config.seed)
        assert self._scenario.test is not None  # noqa: S101 - it has been read
        data = set_fingerprints(self._scenario.train, self._scenario.test, self._run.salt)
        encoder = self._encoder
        inputs = input_fingerprints({"train": self._scenario.train, "test": self._scenario.test}, run.salt)
        run.check_inputs(inputs if encoder is None else {**inputs, "encoder": encoder.hash})
        if self._finished_already():
            return run
        learner = make_learner(self._spec, pretrained=config.model.pretrained)
        flat = flatten(config.model_dump(mode="json"))
        trackers = Trackers(config.trackers, config.name, run.path / "trackers", flat, len(run.events()))

        def log(event: Mapping[str, Any]) -> None:
            run.log(event)
            stage = event.get("stage", "")
            left_out = ("phase", "stage", "task", "epoch")
            trackers.log({f"{stage}/{key}".lstrip("/"): one for key, one in event.items() if key not in left_out})

        try:
            with self._timed("learn"), settings_as_input():
                learned = learn_classes(
                    learner,
                    self._scenario,
                    make_memory(config),
                    train_settings(config),
                    seed=config.seed,
                    device=device(),
                    checkpoints=run.checkpoints,
                    save_every=config.checkpoint_every,
                    log=log,
                    say=self._say,
                    on_task=self._keep_learner if config.keep_learners else None,
                    encoder=None if encoder is None else encoder.weights,
                )
        finally:
            trackers.finish()
        if is_main_process():
            staged = run.path / ".model.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_learner(learned.learner, self._spec, staged)
            seal(staged, run.path / "model")
        run.finish(self._result(learned, data, started))
        if is_main_process():
            for place in (*run.checkpoints.glob("after-*"), *run.checkpoints.glob("task-*")):
                shutil.rmtree(place, ignore_errors=True)
        return run

    def _plain_hash(self) -> str | None:
        """The hash by which ``unlearn classifier`` knows the model, where it is a plain classifier."""
        place = self._run.path / "model"
        return weights_hash(load_classifier(place)[0]) if (place / "classifier.json").is_file() else None

    def _keep_learner(self, number: int, learner: Learner[Any]) -> None:
        if is_main_process():
            staged = self._run.path / ".learner.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_learner(learner, replace(self._spec, sizes=self._spec.sizes[: number + 1]), staged)
            self._run.learners.mkdir(exist_ok=True)
            seal(staged, self._run.learners / f"task-{number + 1}")

    def _result(self, learned: Learned, data: dict[str, Any], started: float) -> dict[str, Any]:
        config, scenario = self._config, self._scenario
        assert scenario.test is not None  # noqa: S101 - it has been read
        table = confusion(learned, scenario.test)
        image = scenario.train.images[0].numel()
        logits = learned.learner.end_state()["logits"].numel() * 4 if learned.learner.own_memory else 0
        records = learned.records
        return {
            "kind": KIND,
            "name": config.name,
            "method": config.method.name,
            "norm": config.norm.kind,
            "seed": config.seed,
            "classes": list(scenario.classes),
            "tasks": [len(task.classes) for task in scenario],
            "samples": {
                "train": [len(task.train) for task in scenario],
                "validation": [len(task.validation) for task in scenario],
                "test": learned.counts,
                "skipped": self._skipped,
                "repeated": self._repeated,
            },
            "metrics": {
                **figures(learned),
                "final_accuracy_interval": accuracy_interval(table, config.confidence),
                "errors": old_and_new_errors(table, len(scenario[-1].classes)),
            },
            "matrix": [record.accuracy for record in records],
            "task_aware_matrix": [record.task_aware for record in records],
            "validation_matrix": [record.validation for record in records],
            "confusion": table,
            "tasks_in_detail": [asdict(record) for record in records],
            "lineage": {
                "data": data,
                "encoder_in": None if self._encoder is None else self._encoder.hash,
                "model_out": weights_hash(learned.learner.net),
                "classifier_out": self._plain_hash(),
            },
            "cost": {
                "seconds": _total([one.seconds for one in records], [one.after_seconds for one in records]),
                "job_seconds": self._seconds(),
                "last_session_seconds": time.monotonic() - started,
                "steps": sum(one.steps for one in records),
                "images": sum(one.images for one in records),
                "parameters_training": max(one.parameters["training"] for one in records),
                "parameters_inference": records[-1].parameters["inference"],
                "exemplars": records[-1].exemplars,
                "exemplar_bytes": records[-1].exemplars * image + logits,
                "peak_memory_bytes": peak_memory(),
            },
        }


def _total(training: list[float | None], after: list[float]) -> float | None:
    """All of it; None where the time of a part is not known."""
    known = [one for one in training if one is not None]
    return sum(known) + sum(after) if len(known) == len(training) else None


def _told(scenario: Scenario) -> str:
    parts = (", ".join(scenario.classes[label] for label in task.classes) for task in scenario)
    text = " | ".join(parts)
    return text if len(text) <= 200 else f"{text[:200]} ..."
