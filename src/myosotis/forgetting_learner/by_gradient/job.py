"""The job of ``unlearn-learner``: forget, and stay a learner."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from myosotis.continual.classification.continuation import read_earlier
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.saved import load_learner
from myosotis.data.forgotten import Forgotten, carry_stream
from myosotis.engine.errors import InputError
from myosotis.engine.processes import is_main_process
from myosotis.forgetting_learner.by_gradient.config import LearnerForgettingConfig
from myosotis.forgetting_learner.by_gradient.learner import LearnerModels, LearnerNet, check_exemplars, purge
from myosotis.forgetting_learner.by_gradient.result import LearnerForgettingResult
from myosotis.unlearning.classifier.job.image_sets import ImageSets
from myosotis.unlearning.classifier.job.inputs import Inputs, read_inputs
from myosotis.unlearning.classifier.job.job import ClassifierUnlearningJob
from myosotis.unlearning.classifier.job.models import check_model

_KEY = "model.learner"


class LearnerForgettingJob(ClassifierUnlearningJob):
    """One run; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-learner"
    Result = LearnerForgettingResult

    _config: LearnerForgettingConfig
    _models: LearnerModels

    def _read(self) -> None:
        config = self._config
        self._earlier = earlier = read_earlier(Path(config.model.learner), _KEY)
        learner = _learner(earlier.path, _KEY)
        self._inputs = inputs = self._without_forgotten(read_inputs(config, earlier.classes, others=False))
        earlier.check_shape(inputs.forget, "data.forget")
        self._say(
            f"{learner.card.title}, {len(earlier.spec.sizes)} tasks, {len(inputs.classes)} classes; images: "
            f"{len(inputs.forget)} to forget, {len(inputs.remaining or ())} remaining, {len(inputs.test or ())} for "
            "the test"
        )
        self._sets = ImageSets(config, inputs)
        self._new_labels = self._read_labels()
        # Of a share that was held out of training it is not known which of the remaining images were in it.
        refill = config.refill and not earlier.validation
        purged = purge(earlier, learner, inputs.forget, inputs.remaining, refill=refill)
        if earlier.validation and config.refill and purged.removed:
            self._say("empty slots of the memory stay empty: a share of the images was held out for validation")
        channels = inputs.forget.images.shape[1]
        spec = replace(
            earlier.spec.backbone, num_classes=len(inputs.classes), classes=inputs.classes, in_channels=channels
        )
        base, reference = LearnerNet(learner), None
        check_model(base, spec, inputs, "the learner")
        if config.reference is not None:
            reference = self._reference(Path(str(config.reference)))
        self._models = LearnerModels(
            base, spec, reference, learner_spec=earlier.spec, purged=purged, remaining=inputs.remaining
        )
        check_exemplars(self._models, earlier.name)

    def _without_forgotten(self, inputs: Inputs) -> Inputs:
        """The images of the job, with none among the remaining ones that is forgotten now or was before."""
        if inputs.remaining is None:
            return inputs
        known = (self._earlier.forgotten or Forgotten()).with_images(inputs.forget)
        gone = set(known.among(inputs.remaining))
        if gone or inputs.same:
            self._say(f"left out {len(gone) + inputs.same} training images that are forgotten now or were before")
        left = [index for index in range(len(inputs.remaining)) if index not in gone]
        return replace(inputs, remaining=inputs.remaining.subset(left))

    def _reference(self, path: Path) -> LearnerNet:
        """The learner of a stream without the images.

        Raises:
            InputError: There is none, or it has other classes.
        """
        other = read_earlier(path, "reference")
        own = self._earlier.classes
        if other.classes != own:
            raise InputError(f"reference {path}: has learnt {', '.join(other.classes)}, the learner {', '.join(own)}")
        return LearnerNet(_learner(path, "reference"))

    def produce(self) -> Mapping[str, Any]:
        """Forget as in a classifier, take the images out of what the learner stores, and hand the stream on."""
        result, earlier, purged = dict(super().produce()), self._earlier, self._models.purged
        net = self._models.base
        assert isinstance(net, LearnerNet)  # noqa: S101 - every model of a job is one
        learner = net.learner
        if is_main_process():
            carry_stream(
                earlier.path,
                self._run.path,
                self._inputs.forget,
                _answered(self._config.name, result),
                memory=purged.memory.state_dict(),
                exemplars={str(index): digest for index, digest in sorted(purged.exemplars.items())},
            )
        result["learner"] = {
            "method": learner.card.name,
            "tasks": len(earlier.spec.sizes),
            "exemplars_before": len(earlier.exemplars),
            "exemplars_after": len(purged.exemplars),
            "exemplars_forgotten": dict(purged.removed),
            "exemplars_refilled": dict(purged.refilled),
            "logits_forgotten": len(purged.stored),
            "restated": learner.reads_exemplars,
            "leaves": learner.leaves or None,
        }
        return result


def _learner(path: Path, key: str) -> Learner[Any]:
    """The learner of a run.

    Raises:
        InputError: It cannot be read, or trains nothing.
    """
    learner, _ = load_learner(path / "model")
    if not learner.trains:
        raise InputError(
            f"{key} {path}: {learner.card.name} trains nothing, its head is made of sums: 'unlearn-exact' is for those"
        )
    return learner


def _answered(name: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What a stream that goes on says of this request."""

    def accuracy(model: str, part: str) -> float | None:
        values = result["metrics"][model].get(part)
        return None if values is None else values["accuracy"]["mean"]

    return {
        "name": name,
        "images": result["images"]["forget"],
        "forgotten_before": accuracy("before", "forget"),
        "forgotten_after": accuracy("after", "forget"),
        "test_after": accuracy("after", "test"),
    }
