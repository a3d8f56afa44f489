"""The job of ``learn-classes``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

from myosotis.continual.classification.checks import check_fit
from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.continuation import read_earlier, write_stream
from myosotis.continual.classification.forecast import class_phase
from myosotis.continual.classification.inputs import (
    describe_learner,
    job_inputs,
    make_job_learner,
    make_memory,
    make_scenario,
)
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.outcome import accuracy_interval, confusion, figures, old_and_new_errors
from myosotis.continual.classification.result import ClassResult
from myosotis.continual.classification.saved import load_first_encoder, make_learner, save_learner
from myosotis.continual.classification.training import Learned, learn_classes, load_encoder
from myosotis.continual.job import StreamJob, try_images
from myosotis.continual.scenario import Scenario
from myosotis.continual.stream import StreamOptions
from myosotis.continual.verdict import classes_verdict
from myosotis.data.images import ImageSet
from myosotis.data.sets import (
    input_fingerprints,
    only_classes,
    pixels_fingerprint,
    read_sets,
    repeated_images,
    repeated_warning,
    set_fingerprints,
)
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.forecast import Phase
from myosotis.engine.processes import is_main_process
from myosotis.exact import check_learner
from myosotis.models.image_classifier import build_classifier, load_classifier
from myosotis.models.weight_files import Pretrained, matched_weights


class ClassLearningJob(StreamJob[ClassLearningConfig, Learner[Any], Learned]):
    """One run of ``learn-classes``; see :class:`~myosotis.engine.job.Job`."""

    kind = "learn-classes"
    Result = ClassResult

    def prepare(self) -> None:
        config = self._config
        self._check_available()
        train, test = read_sets(config.data)
        self._skipped = {"train": len(train.skipped), "test": len(test.skipped)}
        for name, images in (("training", train), ("test", test)):
            if images.skipped:
                self._say(f"skipped {len(images.skipped)} unreadable {name} images, {images.skipped[0]} first")
        self._earlier = None if config.continue_from is None else read_earlier(Path(config.continue_from))
        if self._earlier is not None:
            self._earlier.check_shape(train, "data.train")
            if not METHODS[self._earlier.spec.method].trains:
                check_learner(self._earlier.path / "model")
        train, test = self._without_lost_classes(self._without_forgotten(train), test)
        self._scenario = scenario = make_scenario(config, train, test, self._earlier)
        assert scenario.test is not None  # noqa: S101 - it has just been given
        self._test = scenario.test
        self._check_past()
        self._repeated = repeated_images(scenario.train, self._test)
        if self._repeated:
            self._say(repeated_warning(self._repeated, len(self._test)))
        counts = f"{len(scenario.train)} training and {len(self._test)} test images"
        self._say(f"{counts}, {len(scenario)} tasks: {_class_names(scenario)}")
        source = config.model.init_from
        self._encoder = None if source is None else load_first_encoder(Path(source))
        with settings_as_input():
            self._spec = describe_learner(config, scenario, self._encoder, self._earlier)
            plain = build_classifier(self._spec.backbone).classifier
            self._match = matched_weights(plain, config.model.architecture, self._source)
        self._start = None if self._earlier is None else self._earlier.start(scenario.train)
        self._watched = self._read_watched()
        with settings_as_input():
            check_fit(make_learner(self._spec), scenario, make_memory(config), config.training)
        self._try_images()

    def _check_past(self) -> None:
        """Raise ``InputError`` if a method that learns from earlier tasks again has no image of a class of theirs."""
        if self._earlier is None or not METHODS[self._config.method.name].reads_past:
            return
        counts = self._scenario.train.labels.bincount(minlength=len(self._scenario.classes))
        missing = next(
            (name for name, count in zip(self._earlier.classes, counts.tolist(), strict=False) if not count), None
        )
        if missing is not None:
            raise InputError(
                f"data.train: '{self._config.method.name}' learns the earlier tasks again, and there is no image of "
                f"'{missing}'"
            )

    def _without_forgotten(self, train: ImageSet) -> ImageSet:
        """The training images without those that were forgotten in the earlier run.

        Raises:
            InputError: There are some, and the configuration refuses them.
        """
        earlier = self._earlier
        again = [] if earlier is None or earlier.forgotten is None else earlier.forgotten.among(train)
        self._dropped = len(again)
        if not again:
            return train
        assert earlier is not None  # noqa: S101 - something was forgotten in it
        if self._config.forgotten == "refuse":
            raise InputError(
                f"data.train: {len(again)} of its images were forgotten in {earlier.name}, {train.names[again[0]]} "
                "first; 'forgotten: drop' leaves them out"
            )
        self._say(f"left out {len(again)} training images that were forgotten in {earlier.name}")
        gone = set(again)
        return replace(train.subset([index for index in range(len(train)) if index not in gone]), skipped=train.skipped)

    def _without_lost_classes(self, *sets: ImageSet) -> tuple[ImageSet, ...]:
        """The training and the test images without classes that may have gone with their last image.

        These are neither among the training images nor in an earlier run in which something was forgotten.
        """
        earlier, train = self._earlier, sets[0]
        if earlier is None or earlier.forgotten is None:
            return sets
        known = {*earlier.classes, *(train.classes[label] for label in train.labels.unique().tolist())}
        lost = sorted({name for images in sets for name in images.classes} - known)
        if not lost:
            return sets
        self._say(f"left out the classes of which there is no training image: {', '.join(lost)}")
        return tuple(only_classes(images, tuple(name for name in images.classes if name in known)) for images in sets)

    def _read_watched(self) -> ImageSet | None:
        """The images that are watched, with the labels of the stream.

        Raises:
            InputError: They cannot be read, or do not fit.
        """
        if self._config.watch is None:
            return None
        images, classes = read_images(self._config.watch), self._scenario.classes
        unknown = next((name for name in images.classes if name not in classes), None)
        if unknown is not None:
            raise InputError(f"watch: the stream has no class '{unknown}'")
        if images.images.shape[1:] != self._test.images.shape[1:]:
            raise InputError("watch: the images have another size than those of data.test; give a size")
        labels = torch.tensor([classes.index(name) for name in images.classes])
        return replace(images, labels=labels[images.labels], classes=classes)

    def _try_images(self) -> None:
        """Pass one image through the network."""
        # Pre-trained weights are loaded here, since that may fail.
        learner = make_learner(self._spec, pretrained=self._source)
        learner.grow(0, 1)
        if self._encoder is not None:
            with settings_as_input("model.init_from"):
                load_encoder(learner, self._encoder.weights)
        try_images(learner.net, self._scenario.train.subset([0]).pixels())

    @property
    def _source(self) -> Pretrained:
        """Weights that a new learner begins with: none where an earlier run's are taken over."""
        return self._config.model.source if self._earlier is None else False

    def phases(self) -> Sequence[Phase]:
        """Return the steps of all tasks, those of exemplars included."""
        trains = METHODS[self._config.method.name].trains
        learnt = 0 if self._start is None else len(self._start.sizes)
        return [class_phase(self._config, self._spec, self._scenario, learnt)] if trains else []

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of both sets, and the hash of the encoder, or of the file, to start from."""
        encoder = {} if self._encoder is None else {"encoder": self._encoder.hash}
        earlier = {} if self._earlier is None else {"the earlier run": self._earlier.model}
        sets = {"train": self._scenario.train, "test": self._test}
        if self._watched is not None:
            sets |= {"watched": self._watched}
        known = job_inputs(input_fingerprints(sets, salt), self._config.model.architecture, self._source)
        return {**known, **encoder, **earlier}

    def learn(self, **options: Unpack[StreamOptions]) -> Learned:
        return learn_classes(
            make_job_learner(self._config, self._spec, self._source),
            self._scenario,
            make_memory(self._config),
            self._config.training,
            encoder=None if self._encoder is None else self._encoder.weights,
            start=self._start,
            watched=self._watched,
            **options,
        )

    def _began_with(self) -> dict[str, Any] | None:
        """How pre-trained weights were matched, with the whole mapping in a file of the run; None without a file."""
        match = self._match
        if match is None:
            return None
        if is_main_process():
            write_json(self._run.path / "weights.json", {"by": match.by, "names": match.names, "unused": match.unused})
        return {"matched_by": match.by, "tensors": len(match.names), "unused": list(match.unused)}

    def save(self, learner: Learner[Any], tasks: int, path: Path) -> None:
        save_learner(learner, replace(self._spec, sizes=self._spec.sizes[:tasks]), path)

    def _learned_fingerprint(self) -> str:
        """A fingerprint of the images of the tasks of this run, by which a ledger checks records that it is given."""
        begun = 0 if self._earlier is None else len(self._earlier.spec.sizes)
        parts = [part for task in self._scenario[begun:] for part in (task.train, task.validation)]
        hashes = self._scenario.train.hashes
        pixels = (hashes[index][0] for part in parts for index in part.indices.tolist())
        return pixels_fingerprint(pixels, self._run.salt)

    def _plain_hash(self) -> str | None:
        """The hash of the model in ``unlearn-classifier``, if it is a plain classifier."""
        path = self._run.path / "model"
        return weights_hash(load_classifier(path)[0]) if (path / "classifier.json").is_file() else None

    def result(self, outcome: Learned) -> dict[str, Any]:
        config, scenario, records = self._config, self._scenario, outcome.records
        body = self._spec.backbone
        own = records if self._start is None else records[len(self._start.sizes) :]
        if is_main_process():
            write_stream(self._run, config, outcome.learner, outcome.memory, records, scenario.train, self._earlier)
        table = confusion(outcome, self._test)
        image = scenario.train.images[0].numel()
        logits = outcome.learner.end_state()["logits"].numel() * 4 if outcome.learner.own_memory else 0
        return {
            "norm": config.norm.kind,
            "classes": list(scenario.classes),
            "tasks": [[scenario.classes[label] for label in task.classes] for task in scenario],
            "samples": {
                "train": [len(task.train) for task in scenario],
                "validation": [len(task.validation) for task in scenario],
                "test": outcome.counts,
                "skipped": self._skipped,
                "repeated": self._repeated,
                "forgotten": self._dropped,
            },
            "metrics": {
                **figures(outcome),
                "final_accuracy_interval": accuracy_interval(table, config.confidence),
                "errors": old_and_new_errors(table, len(scenario[-1].classes)),
            },
            "matrix": [record.accuracy for record in records],
            "task_aware_matrix": [record.task_aware for record in records],
            "validation_matrix": [record.validation for record in records],
            "confusion": table,
            "verdict": classes_verdict(
                table,
                [record.accuracy for record in records],
                outcome.counts,
                [len(task.classes) for task in scenario],
                config.confidence,
            ),
            "tasks_in_detail": records,
            "requests": [] if self._earlier is None else list(self._earlier.requests),
            "lineage": {
                "data": set_fingerprints(scenario.train, self._test, self._run.salt),
                "learned": self._learned_fingerprint(),
                "encoder_in": None if self._encoder is None else self._encoder.hash,
                "weights_in": self._began_with(),
                "pixels": {"size": body.image_size, "mean": list(body.mean), "std": list(body.std)},
                "continued_from": None
                if self._earlier is None
                else {"name": self._earlier.name, "model": self._earlier.model, "tasks": len(self._earlier.spec.sizes)},
                "model_out": outcome.learner.model_hash(),
                "classifier_out": self._plain_hash(),
            },
            "cost": self.stream_cost(
                own,
                after_task_seconds=[record.after_seconds for record in own],
                parameters_training=max(record.parameters["training"] for record in own),
                parameters_inference=records[-1].parameters["inference"],
                exemplars=records[-1].exemplars,
                exemplar_bytes=records[-1].exemplars * image + logits,
            ),
        }


def _class_names(scenario: Scenario) -> str:
    """The names of the classes of each task, at most 200 characters."""
    text = " | ".join(", ".join(scenario.classes[label] for label in task.classes) for task in scenario)
    return text if len(text) <= 200 else f"{text[:200]} ..."
