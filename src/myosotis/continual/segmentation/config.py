"""The configuration of ``myosotis learn segments``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from myosotis.continual.segmentation.methods import METHODS, check_settings
from myosotis.continual.segmentation.scenario import Assign, Kind
from myosotis.continual.segmentation.training import SegmentationSettings
from myosotis.data.mask_sources import MaskSourceConfig
from myosotis.engine.config import Config, RunName
from myosotis.engine.loop import Precision
from myosotis.engine.method import Count, NamedConfig, NotNegative, Positive, Whole
from myosotis.engine.schedule import Schedule
from myosotis.models.segmenter import Library


class SegmentDataConfig(Config):
    """The images: what is learnt, and what is measured with. The limits draw a part of them."""

    train: MaskSourceConfig
    test: MaskSourceConfig
    limit: Count | None = None
    test_limit: Count | None = None

    @model_validator(mode="after")
    def _apart(self) -> "SegmentDataConfig":
        if self.train == self.test:
            raise ValueError("'train' and 'test' are the same images; the latter may want another 'split'")
        return self


class SegmentStreamConfig(Config):
    """Which classes come when, and which images with them.

    See :func:`~.scenario.class_incremental_segmentation`. Without ``class_order``
    classes come as they are listed, or as ``order_seed`` draws them. ``partition_seed`` is the job's seed unless given;
    a ``partition`` file is used as it is.
    """

    kind: Kind = "partitioned"
    first: Count
    per_task: Count | tuple[Count, ...]
    class_order: tuple[str, ...] | None = None
    order_seed: Whole | None = None
    partition_seed: Whole | None = None
    partition: str | None = None
    assign: Assign = "uniform"
    min_pixels: Count = 1
    match_sizes: bool = False
    unseen: Literal["ignore", "background"] = "ignore"

    @model_validator(mode="after")
    def _belongs(self) -> "SegmentStreamConfig":
        if self.class_order is not None and self.order_seed is not None:
            raise ValueError("give either 'class_order' or 'order_seed'")
        if self.partition is not None and (self.partition_seed is not None or self.assign != "uniform"):
            raise ValueError("a 'partition' file has its own seed and 'assign'")
        if self.match_sizes and self.kind == "partitioned":
            raise ValueError("'match_sizes' caps other scenarios at the sizes of this one")
        partitions = self.kind == "partitioned" or self.match_sizes
        if not partitions and (
            self.partition is not None or self.partition_seed is not None or self.assign != "uniform"
        ):
            raise ValueError(f"the {self.kind} scenario has no partition")
        return self


class SegmenterConfig(Config):
    """The body; see :class:`~myosotis.models.segmenter.SegmenterSpec`. Pixel statistics are the first task's."""

    library: Library = "own"
    architecture: str = "small-segmenter"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "SegmenterConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        return self


class SegmentMethodConfig(NamedConfig):
    """A method: its name, and its settings beside it."""

    name: str = "mib"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a method."""
        return check_settings(name, settings)


class SegmentTrainingConfig(Config):
    """How each task is trained; see :class:`~myosotis.continual.segmentation.training.SegmentationSettings`."""

    iterations: Count | None = SegmentationSettings.iterations
    first_iterations: Count | None = SegmentationSettings.first_iterations
    epochs: Count = SegmentationSettings.epochs
    learning_rate: Positive = SegmentationSettings.learning_rate
    later_rate: Positive | None = SegmentationSettings.later_rate
    head_factor: Positive = SegmentationSettings.head_factor
    optimizer: Literal["sgd", "adamw"] = SegmentationSettings.optimizer
    weight_decay: NotNegative = SegmentationSettings.weight_decay
    batch: Count = SegmentationSettings.batch
    schedule: Schedule = SegmentationSettings.schedule
    power: Positive = SegmentationSettings.power
    scale: tuple[Positive, Positive] | None = SegmentationSettings.scale
    crop: tuple[Count, Count] | None = SegmentationSettings.crop
    flip: bool = SegmentationSettings.flip
    max_grad_norm: Positive | None = SegmentationSettings.max_grad_norm
    precision: Precision = SegmentationSettings.precision
    accumulate: Count = SegmentationSettings.accumulate
    checkpoint_every: Count = SegmentationSettings.checkpoint_every

    @model_validator(mode="after")
    def _belongs(self) -> "SegmentTrainingConfig":
        plain = type(self).model_fields
        if self.iterations is not None and self.epochs != plain["epochs"].default:
            raise ValueError("give either 'iterations' or 'epochs'")
        if self.first_iterations is not None and self.iterations is None:
            raise ValueError("'first_iterations' goes with 'iterations'")
        if self.schedule != "poly" and self.power != plain["power"].default:
            raise ValueError("'power' belongs to 'schedule: poly'")
        if self.scale is not None and (self.crop is None or self.scale[0] > self.scale[1]):
            raise ValueError("'scale' is a range, and needs a 'crop'")
        return self


class SegmentLearningConfig(Config):
    """One job: a stream of classes, a network, a method, and how it is trained.

    ``memory`` is how many images are remembered; ``keep_learners`` keeps the learner after each task; ``panels`` is how
    many test images the report shows with the answers after each task.
    """

    name: RunName
    seed: Whole = 0
    data: SegmentDataConfig
    scenario: SegmentStreamConfig
    model: SegmenterConfig = SegmenterConfig()
    method: SegmentMethodConfig = Field(default_factory=SegmentMethodConfig)
    memory: Whole = 0
    training: SegmentTrainingConfig = SegmentTrainingConfig()
    keep_learners: bool = False
    panels: Whole = 6

    @model_validator(mode="after")
    def _fits_together(self) -> "SegmentLearningConfig":
        method = METHODS[self.method.name]
        if method.reads_memory and not self.memory:
            raise ValueError(f"method '{self.method.name}' needs a 'memory', how many images are remembered")
        if self.memory and not method.reads_memory:
            raise ValueError(f"method '{self.method.name}' reads no exemplars: leave 'memory' out")
        if method.reads_memory and self.training.batch % 2:
            raise ValueError("half of a batch is remembered, so 'training.batch' must be even")
        return self


def resolve_paths(config: SegmentLearningConfig, folder: Path) -> SegmentLearningConfig:
    """Return the configuration with the paths in it made absolute, relative ones taken from ``folder``."""

    def place(path: str | None) -> str | None:
        return None if path is None else str((folder / Path(path).expanduser()).resolve())

    sources = {"train": config.data.train.resolved(place), "test": config.data.test.resolved(place)}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=sources),
            "scenario": config.scenario.model_copy(update={"partition": place(config.scenario.partition)}),
        }
    )
