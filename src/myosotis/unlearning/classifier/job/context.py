"""The context of a job's phases: configuration, images, models, run and progress."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from myosotis.engine.job import Say
from myosotis.engine.run import Run
from myosotis.models.normalization import NormalizedClassifier
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.image_sets import ImageSets
from myosotis.unlearning.classifier.job.inputs import Inputs
from myosotis.unlearning.classifier.job.models import Models, load_weights
from myosotis.unlearning.classifier.unlearner import NewLabels


@dataclass(frozen=True)
class JobContext:
    """What every phase of a job needs.

    Attributes:
        config: The configuration, with absolute paths.
        inputs: The images.
        sets: The sets that follow from them.
        models: The models that were given.
        new_labels: New labels of the instances, or the rule that finds them.
        run: The open run.
        say: Takes one line at a time about what is going on.
        log: Appends an event to ``metrics.jsonl``.
    """

    config: ClassifierUnlearningConfig
    inputs: Inputs
    sets: ImageSets
    models: Models
    new_labels: Tensor | NewLabels
    run: Run
    say: Say
    log: Callable[[Mapping[str, Any]], None]

    @cached_property
    def fingerprints(self) -> dict[str, Any]:
        """Salted fingerprints of the images."""
        return self.sets.fingerprints(self.run.salt)

    def fresh(self, seed: int) -> NormalizedClassifier:
        """Return the classifier with the weights that training begins from."""
        return load_weights(self.models.spec, self.config.model, seed)

    def save(self, model: nn.Module, name: str = "model") -> None:
        """Write a model into a directory of the run."""
        self.run.publish(lambda path: self.models.save(model, path), name)
