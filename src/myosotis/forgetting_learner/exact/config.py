"""The configuration of ``unlearn-exact``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.unlearning.classifier.job.config import ForgetConfig
from myosotis.unlearning.request import RequestConfig


class LearnerConfig(Config):
    """The learner that is to forget.

    Attributes:
        learner: Run of ``learn-classes`` by ``simplecil``, ``ranpac`` or ``fecam``, or of an exact forgetting in one;
            or the ``model`` directory of such a run.
        feature_cache: Directory of features that the learner used; the forgotten images are removed from it.
    """

    learner: LocalPath
    feature_cache: LocalPath | None = None


class ExactDataConfig(Config):
    """The images. Only ``forget`` is required.

    Attributes:
        forget: Images to forget.
        train: Images that the learner learned, or more; lists and draws choose among them.
        test: Test images of the same classes.
    """

    forget: ForgetConfig
    train: SourceConfig | None = None
    test: SourceConfig | None = None

    @model_validator(mode="after")
    def _together(self) -> "ExactDataConfig":
        if self.train is None and self.forget.folder is None:
            raise ValueError("'forget.list' and 'forget.count' choose from the training set, but 'train' is missing")
        if isinstance(self.forget.list, tuple):
            raise ValueError("give one 'forget.list': a request after another is a run after another")
        return self


class ExactAuditConfig(Config):
    """Measurements before and after, and the threshold of ``kept``.

    Attributes:
        samples: Most images of a set that are measured.
        most_lost: Largest loss of accuracy that counts as kept.
        confidence: Level of the confidence intervals.
    """

    samples: PositiveInt = 5000
    most_lost: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.95


class ExactForgettingConfig(JobConfig):
    """One job: a learner, the images that it is to forget, and what is measured.

    Attributes:
        model: Learner that is to forget.
        data: Images to forget and others.
        recompute: Whether the sums are made anew from the remaining images of ``data.train`` instead of subtracting:
            for a machine that computes other bits than the one that learned.
        audit: Measurements.
        request: Description of the deletion request.
    """

    job: Literal["unlearn-exact"] = "unlearn-exact"
    model: LearnerConfig
    data: ExactDataConfig
    recompute: bool = False
    audit: ExactAuditConfig = ExactAuditConfig()
    request: RequestConfig = RequestConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> "ExactForgettingConfig":
        if self.recompute and self.data.train is None:
            raise ValueError("'recompute' learns the remaining images of 'data.train', which is missing")
        return self
