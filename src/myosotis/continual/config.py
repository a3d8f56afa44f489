"""Settings that the jobs of all learners of a stream share."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from myosotis.engine.config import Config, JobConfig


class StreamJobConfig(JobConfig):
    """A job that learns the tasks of a stream one after another.

    Attributes:
        checkpoint_every: Epochs between checkpoints within a task; of ``learn segments``, steps at most.
        keep_learners: Whether the learner after each task is saved.
    """

    checkpoint_every: PositiveInt = 1
    keep_learners: bool = False


class StoredSamplesConfig(Config):
    """A memory of stored samples.

    Attributes:
        total: Number of stored samples; 0 is no memory.
    """

    total: NonNegativeInt = 0

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, values: Any) -> Any:
        if isinstance(values, int):
            raise ValueError(f"must be a mapping: 'memory: {{total: {values}}}'")
        return values


class BalancedMemoryConfig(StoredSamplesConfig):
    """A memory of images, as many under each class as under any other.

    Attributes:
        selection: Rule by which images are chosen.
    """

    selection: Literal["balanced"] = "balanced"


class ReservoirConfig(StoredSamplesConfig):
    """A memory in which every sample of the stream stays with the same probability.

    Attributes:
        selection: Rule by which samples are chosen.
    """

    selection: Literal["reservoir"] = "reservoir"


class PixelStatistics(Config):
    """Mean and standard deviation of the pixels of each channel, in [0, 1]; those of the first task unless given.

    Attributes:
        mean: Mean of each channel, with ``std``.
        std: Standard deviation of each channel.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "PixelStatistics":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        if self.std is not None and min(self.std, default=1.0) <= 0:
            raise ValueError("'std' must be positive")
        return self


class BackboneConfig(PixelStatistics):
    """The network.

    Attributes:
        architecture: ``small-resnet``, or a name that timm knows.
        options: Further arguments of the architecture, e.g. ``{widths: [16, 32, 64]}`` of ``small-resnet``.
        pretrained: Whether timm fetches its pre-trained weights.
    """

    architecture: str = "small-resnet"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False

    @model_validator(mode="after")
    def _has_weights(self) -> "BackboneConfig":
        if self.pretrained and self.architecture == "small-resnet":
            raise ValueError("small-resnet has no pre-trained weights")
        return self


class ClassOrderConfig(Config):
    """The order of the classes.

    Attributes:
        class_order: Names of the classes in the order of arrival, or ``as_listed``; drawn unless given.
        order_seed: Seed of the drawn order; the job's seed unless given.
    """

    class_order: tuple[str | int, ...] | Literal["as_listed"] | None = None
    order_seed: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _one_order(self) -> "ClassOrderConfig":
        if self.class_order is not None and self.order_seed is not None:
            raise ValueError("give either 'class_order' or 'order_seed'")
        return self

    def order_options(self, seed: int) -> Mapping[str, Any]:
        """Return ``class_order`` and ``order_seed`` for :func:`~myosotis.continual.scenario.class_incremental`."""
        # Classes without names of their own are called by their numbers, which YAML reads as such.
        listed = [str(name) for name in self.class_order] if isinstance(self.class_order, tuple) else None
        drawn = seed if self.order_seed is None else self.order_seed
        return {"class_order": listed, "order_seed": drawn if self.class_order is None else None}
