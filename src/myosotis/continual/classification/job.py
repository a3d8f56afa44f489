"""The whole job: read, split into tasks, learn them one after another, measure, keep the result."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.outcome import accuracy_interval, confusion, figures, old_and_new_errors
from myosotis.continual.classification.report import KIND
from myosotis.continual.classification.saved import LearnerSpec, make_learner, save_learner
from myosotis.continual.classification.training import Learned, TrainSettings, check_fit, learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, class_incremental
from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.data.sources import read_images
from myosotis.engine.checkpoint import seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.job import Job, Say
from myosotis.engine.processes import device, is_main_process
from myosotis.engine.run import Run
from myosotis.engine.tracking import Trackers, check_trackers
from myosotis.models.image_classifier import ClassifierSpec
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
        self._check_available([*config.data.train.paths, *config.data.test.paths])
        check_trackers(config.trackers)
        self._scenario, self._skipped = read_scenario(config, self._say)
        try:
            memory = self._memory()
            self._spec = self._describe()
            check_fit(make_learner(self._spec), self._scenario, memory, self._settings())
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from None
        self._try_images()

    def _describe(self) -> LearnerSpec:
        config, images = self._config, self._scenario.train
        model = config.model
        mean, std = model.mean, model.std
        if mean is None or std is None:
            # Of the first task: nothing is known of the others when the network is made.
            mean, std = pixel_statistics(self._scenario[0].train.samples())
        body = ClassifierSpec(
            model.architecture, 0, images.images.shape[1], mean, std, dict(model.options), images.classes
        )
        sizes = tuple(len(task.classes) for task in self._scenario)
        return LearnerSpec(config.method.name, config.method.settings, body, config.norm, sizes, config.seed)

    def _try_images(self) -> None:
        """Let the network see one image: what does not fit must show before anything is written."""
        learner = make_learner(self._spec)
        learner.grow(0, 1)
        images = self._scenario[0].train.samples().subset([0]).pixels()
        try:
            with torch.no_grad():
                learner.net.eval()(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"the model does not take these images: {first_line}") from None

    def _memory(self) -> ExemplarMemory:
        return ExemplarMemory(**self._config.memory.model_dump(), seed=self._config.seed)

    def _settings(self) -> TrainSettings:
        return TrainSettings(**self._config.training.model_dump())

    def run(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
        """
        config, started = self._config, time.monotonic()
        run = self._open(config.seed)
        data = set_fingerprints(self._scenario, self._run.salt)
        run.check_inputs(data)
        if self._finished_already():
            return run
        learner = make_learner(self._spec, pretrained=config.model.pretrained)
        trackers = Trackers(
            config.trackers, config.name, run.path / "trackers", flatten(config.model_dump(mode="json"))
        )

        def log(event: Mapping[str, Any]) -> None:
            run.log(event)
            trackers.log({key: value for key, value in event.items() if key not in ("phase", "stage")})

        try:
            with self._timed("learn"):
                learned = learn_classes(
                    learner,
                    self._scenario,
                    self._memory(),
                    self._settings(),
                    seed=config.seed,
                    device=device(),
                    checkpoints=run.checkpoints,
                    save_every=config.checkpoint_every,
                    log=log,
                    say=self._say,
                    on_task=self._keep_learner if config.keep_learners else None,
                )
        except ValueError as error:
            raise InputError(str(error)) from error
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
            "lineage": {"data": data, "model_out": weights_hash(learned.learner.net)},
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


def read_scenario(config: ClassLearningConfig, say: Say) -> tuple[Scenario, dict[str, int]]:
    """Read the images of a job and split them into its tasks.

    Args:
        config: With absolute paths.
        say: Takes a line about what was found.

    Returns:
        The stream, and how many training and test images could not be read.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    seed = config.seed
    train = _part(read_images(config.data.train), config.data.limit, seed, "data.limit")
    test = _part(read_images(config.data.test), config.data.test_limit, seed, "data.test_limit")
    skipped = {"train": len(train.skipped), "test": len(test.skipped)}
    for name, images in (("training", train), ("test", test)):
        if images.skipped:
            count, first = len(images.skipped), images.skipped[0]
            say(f"{count} {name} images cannot be read and are left out, {first} first")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(f"training images are {_shape(train)}, test images {_shape(test)}; give a size")
    stream = config.scenario
    order: Any = None if stream.class_order == "as_listed" else stream.class_order
    drawn = seed if stream.order_seed is None else stream.order_seed
    try:
        found = class_incremental(
            train,
            stream.first,
            stream.per_task,
            test=test,
            order_seed=drawn if stream.class_order is None else None,
            class_order=order,
            validation=stream.validation,
            seed=seed,
        )
    except ValueError as error:
        raise InputError(f"scenario: {error}") from None
    say(f"{len(train)} training and {len(test)} test images, {len(found)} tasks: {_told(found)}")
    return found, skipped


def set_fingerprints(scenario: Scenario, salt: str) -> dict[str, str]:
    """Return one salted fingerprint of the training set as a whole, and one of the test set."""
    found = {}
    for name, images in (("train", scenario.train), ("test", scenario.test)):
        assert images is not None  # noqa: S101 - both have been read
        every = "".join(sorted(images.digest(place) for place in range(len(images))))
        found[name] = salted_fingerprint(every, salt)
    return found


def _total(training: list[float | None], after: list[float]) -> float | None:
    """All of it; None where the time of a part is not known."""
    known = [one for one in training if one is not None]
    return sum(known) + sum(after) if len(known) == len(training) else None


def _part(images: ImageSet, limit: int | None, seed: int, key: str) -> ImageSet:
    """So many images, the same number of each class but for the remainder."""
    if limit is None:
        return images
    if limit > len(images) or limit < len(images.classes):
        raise InputError(f"{key} is {limit}; it must be between {len(images.classes)} classes and {len(images)} images")
    order = images.shuffled(seed, "limit")
    rank: dict[int, int] = {}
    ranked = []
    for place in order:
        label = int(images.labels[place])
        rank[label] = rank.get(label, 0) + 1
        ranked.append((rank[label], place))
    # All firsts come before all seconds; ties as they were drawn.
    chosen = [place for _, place in sorted(ranked, key=lambda pair: pair[0])[:limit]]
    part = images.subset(sorted(chosen))
    return ImageSet(part.images, part.labels, part.names, part.classes, images.skipped)


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channels"


def _told(scenario: Scenario) -> str:
    parts = (", ".join(scenario.classes[label] for label in task.classes) for task in scenario)
    text = " | ".join(parts)
    return text if len(text) <= 200 else f"{text[:200]} ..."
