"""The configuration of ``unlearn-learner``."""

from typing import Any, Literal

from myosotis.engine.config import Config, LocalPath
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig


class LearnerModelConfig(Config):
    """The learner that is to forget.

    Attributes:
        learner: Run of ``learn-classes``, or of an earlier forgetting in one.
    """

    learner: LocalPath


class LearnerForgettingConfig(ClassifierUnlearningConfig):
    """One job: a learner of a stream, the instances to forget, the method, and the audit.

    Attributes:
        model: Learner that is to forget.
        refill: Whether slots of the exemplar memory that become empty are filled from the remaining images of
            ``data.train``, by the rule of the memory; else they stay empty until the next task.
    """

    job: Literal["unlearn-learner"] = "unlearn-learner"  # type: ignore[assignment]
    model: LearnerModelConfig  # type: ignore[assignment]
    refill: bool = True

    def check_model(self) -> None:
        """Raise ``ValueError`` if settings ask for training a stream again."""
        if self.train is not None:
            raise ValueError("'train' teaches a new model; with 'model.learner' leave it out")
        if self.reference == "retrain":
            raise ValueError(
                "'reference: retrain' would learn the whole stream again; learn it without the images by "
                "`learn-classes` and give that run as 'reference'"
            )
        if self.keep_original:
            raise ValueError("'keep_original' has no effect: 'model.learner' holds the model before")
        if any(method.name == "retrain" for method in self._methods()):
            raise ValueError("method 'retrain' would learn the whole stream again, which `learn-classes` does")

    def _methods(self) -> list[Any]:
        return [self.method, *(variant.method for variant in self.compare)]
