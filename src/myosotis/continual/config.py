"""Settings that the jobs of all learners of a stream share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.models.image_classifier import OWN, pretrained_size, pretrained_statistics
from myosotis.models.weight_files import Pretrained


class StreamJobConfig(JobConfig):
    """A job that learns the tasks of a stream one after another.

    Attributes:
        checkpoint_every: Epochs between checkpoints within a task; of ``learn-segments``, steps at most.
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


class WeightsConfig(PixelStatistics):
    """Pre-trained weights to begin with: a file of the user, or those that belong to the architecture.

    Attributes:
        pretrained: Whether to begin with the pre-trained weights of the architecture: those of an installed package
            (``efficientnet-lite0``), or those that its library fetches.
        weights: File of pre-trained weights, safetensors or ``.pth``, instead; names that differ are matched by order
            and shape.
    """

    pretrained: bool = False
    weights: LocalPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "WeightsConfig":
        if self.pretrained and self.weights is not None:
            raise ValueError("give either 'pretrained' or 'weights'")
        return self

    @property
    def source(self) -> Pretrained:
        """Weights to begin with."""
        return self.pretrained if self.weights is None else Path(self.weights)


class BackboneConfig(WeightsConfig):
    """The network.

    Attributes:
        architecture: ``small-resnet``, or a name that timm knows.
        options: Further arguments of the architecture, e.g. ``{widths: [16, 32, 64]}`` of ``small-resnet``.
        image_size: Height and width that images are scaled to; those that pre-trained weights expect unless given,
            else as they are.
    """

    architecture: str = "small-resnet"
    options: dict[str, Any] = Field(default_factory=dict)
    image_size: PositiveInt | None = None

    @model_validator(mode="after")
    def _has_weights(self) -> "BackboneConfig":
        if self.pretrained and self.architecture == "small-resnet":
            raise ValueError("small-resnet has no pre-trained weights")
        return self

    def pixels(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Return mean and standard deviation of the pixels, as given or as pre-trained weights expect, if known."""
        if self.mean is not None and self.std is not None:
            return self.mean, self.std
        return pretrained_statistics(self.architecture) if self._expects else None

    def size(self) -> int | None:
        """Return the height and width that images are scaled to, as given or as pre-trained weights expect."""
        return pretrained_size(self.architecture) if self.image_size is None and self._expects else self.image_size

    def channels(self, images: int) -> int:
        """Return the channels that the body takes: grey images enter pre-trained weights of colours as equal ones.

        Args:
            images: Channels of the images.
        """
        expected = self.pixels()
        return len(expected[0]) if images == 1 and self._expects and expected is not None else images

    @property
    def _expects(self) -> bool:
        return self.source is not False and self.architecture not in OWN


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
