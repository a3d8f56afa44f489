"""The image sets of a job: what its models learn, retain and are audited on."""

from functools import cached_property
from typing import Any

from myosotis.data.images import ImageSet
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig, MethodConfig
from myosotis.unlearning.classifier.job.inputs import Inputs
from myosotis.unlearning.classifier.methods import build_method


class ImageSets:
    """Sets that follow from the images, the configuration and its seed.

    Args:
        config: Configuration of the job.
        inputs: Images of the job.
    """

    def __init__(self, config: ClassifierUnlearningConfig, inputs: Inputs) -> None:
        self._config = config
        self._inputs = inputs

    @cached_property
    def learned(self) -> ImageSet:
        """What the model learns: the remaining images and those that it will have to forget."""
        assert self._inputs.remaining is not None  # noqa: S101 - the configuration has been checked
        return self._inputs.remaining.joined(self._inputs.forget, "forget/")

    @cached_property
    def audited(self) -> dict[str, ImageSet]:
        """What the audit measures; of large sets a part that depends on the names and the seed alone."""
        largest, seed = self._config.audit.samples, self._config.seed
        remaining = self._inputs.remaining
        trained, held = self._split_remaining
        sets = {
            "remaining": None if remaining is None else remaining.subset(trained),
            "held_remaining": remaining.subset(held) if remaining is not None and held else None,
            "test": self._inputs.test,
        }
        audited = {"forget": self._inputs.forget}
        for name, images in sets.items():
            if images is not None and len(images):
                is_large = len(images) > largest
                audited[name] = images.subset(images.shuffled(seed, "audit")[:largest]) if is_large else images
        return audited

    @cached_property
    def _split_remaining(self) -> tuple[list[int], list[int]]:
        """The remaining images that unlearning may train on, and those that are held out of it for the audit.

        They are the same whatever the method, so that runs of several methods can be compared.
        """
        remaining, config = self._inputs.remaining, self._config
        if remaining is None:
            return [], []
        order = remaining.shuffled(config.seed, "held out")
        count = round(config.audit.held_retain * len(order))
        return sorted(order[count:]), sorted(order[:count])

    def retained(self, method: MethodConfig) -> ImageSet | None:
        """Return what a method may train on: all but the images held out; retraining needs all, as the original had."""
        remaining = self._inputs.remaining
        if remaining is None or method.name == "retrain":
            return remaining
        return remaining.subset(self._split_remaining[0])

    def kept_sets(self, method: MethodConfig) -> tuple[str, ...]:
        """Return the names of the sets that decide whether the rest is kept: those that the method did not train on."""
        if not build_method(method.name, method.settings).reads_retain:
            return ("remaining", "held_remaining", "test")
        return ("test",) if method.name == "retrain" else ("held_remaining", "test")

    @cached_property
    def forgotten_classes(self) -> frozenset[int]:
        """Classes of which every training image is to be forgotten; none where the remaining images are not known."""
        remaining = self._inputs.remaining
        if remaining is None:
            return frozenset()
        return frozenset(self._inputs.forget.labels.tolist()) - frozenset(remaining.labels.tolist())

    def fingerprints(self, salt: str) -> dict[str, Any]:
        """Return a salted fingerprint of each image to forget, and one of each other set as a whole."""
        fingerprints: dict[str, Any] = {"forget": [salted_fingerprint(text, salt) for text in self._digests["forget"]]}
        for name in ("remaining", "test"):
            if name in self._digests:
                fingerprints[name] = salted_fingerprint("".join(sorted(self._digests[name])), salt)
        return fingerprints

    @cached_property
    def _digests(self) -> dict[str, list[str]]:
        inputs = self._inputs
        return {
            name: [images.digest(index) for index in range(len(images))]
            for name, images in (("forget", inputs.forget), ("remaining", inputs.remaining), ("test", inputs.test))
            if images is not None
        }
