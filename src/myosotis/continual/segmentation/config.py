"""The configuration of ``learn-segments``."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from myosotis.continual.config import BalancedMemoryConfig, StreamJobConfig, WeightsConfig
from myosotis.continual.segmentation.methods import METHODS
from myosotis.continual.segmentation.partitions import Assign
from myosotis.continual.segmentation.scenario import Kind
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.data.mask_sources import MaskSourceConfig
from myosotis.engine.config import Config, LocalPath
from myosotis.engine.method import NamedConfig
from myosotis.models.segmenter import Library


class SegmentDataConfig(Config):
    """Training and test images.

    Attributes:
        train: Training images with masks.
        test: Test images with masks.
        limit: Number of training images to draw; all unless given.
        test_limit: Number of test images to draw; all unless given.
    """

    train: MaskSourceConfig
    test: MaskSourceConfig
    limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _apart(self) -> "SegmentDataConfig":
        if self.train == self.test:
            raise ValueError("'train' and 'test' are the same images; give another 'split' of 'test'")
        return self


class SegmentStreamConfig(Config):
    """The order of the classes, the sizes of the tasks and their images.

    See :func:`~.scenario.class_incremental_segmentation`.

    Attributes:
        kind: Images of a task: ``partitioned`` and ``disjoint`` have each image in one task, ``overlapped`` in the task
            of every class in it, and ``sequential`` labels all classes so far.
        first: Number of classes of the first task.
        per_task: Number of classes of each later task, or a list of them.
        class_order: Names of the classes in the order of arrival.
        order_seed: Seed of the order of classes; as listed unless given.
        partition_seed: Seed of the partition; the job's seed unless given.
        partition: File with a partition to use.
        assign: Task of an image that shows classes of several: drawn ``uniform``, by ``rarest`` class or
            ``largest_area``.
        min_pixels: Fewest pixels of a class in an image that shows it.
        match_sizes: Whether each task has as many images as in the partitioned stream.
        unseen: Treatment of test pixels of classes that have not come yet.
    """

    kind: Kind = "partitioned"
    first: PositiveInt
    per_task: PositiveInt | tuple[PositiveInt, ...]
    class_order: tuple[str, ...] | None = None
    order_seed: NonNegativeInt | None = None
    partition_seed: NonNegativeInt | None = None
    partition: LocalPath | None = None
    assign: Assign = "uniform"
    min_pixels: PositiveInt = 1
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


class SegmenterConfig(WeightsConfig):
    """The body; see :class:`~myosotis.models.segmenter.SegmenterSpec`. Weights are those of the encoder's classifier.

    Attributes:
        library: Library of the network: ``own``, ``torchvision``, ``timm`` or ``smp``.
        architecture: ``small-segmenter``, or a name in that library.
        options: Further arguments of the architecture.
        norm_momentum: Momentum of the running statistics of batch normalisation; the library's own unless given.
    """

    library: Library = "own"
    architecture: str = "small-segmenter"
    options: dict[str, Any] = Field(default_factory=dict)
    norm_momentum: Annotated[float, Field(gt=0, le=1)] | None = None


class SegmentMethodConfig(NamedConfig):
    """A method: its name and its settings."""

    registry = METHODS

    name: str = "mib"


class SegmentLearningConfig(StreamJobConfig):
    """One job: a stream of classes, a network, a method, and its training.

    Attributes:
        data: Images with masks.
        scenario: Order of the classes, sizes of the tasks and their images.
        model: Network, by its architecture.
        method: Continual-learning method.
        memory: Memory of images.
        training: Training of each task.
        checkpoint_every: Steps between checkpoints within a task.
        panels: Number of test images that the report shows with the predictions after each task.
    """

    job: Literal["learn-segments"] = "learn-segments"
    data: SegmentDataConfig
    scenario: SegmentStreamConfig
    model: SegmenterConfig = SegmenterConfig()
    method: SegmentMethodConfig = Field(default_factory=SegmentMethodConfig)
    memory: BalancedMemoryConfig = BalancedMemoryConfig()
    training: SegmentationSettings = SegmentationSettings()
    checkpoint_every: PositiveInt = 100
    panels: NonNegativeInt = 6

    @model_validator(mode="after")
    def _fits_together(self) -> "SegmentLearningConfig":
        method = METHODS[self.method.name]
        if method.reads_memory and not self.memory.total:
            raise ValueError(f"method '{self.method.name}' needs a 'memory': give its 'total'")
        if self.memory.total and not method.reads_memory:
            raise ValueError(f"method '{self.method.name}' reads no exemplars: leave 'memory' out")
        if method.reads_memory and self.training.batch_size % 2:
            raise ValueError("half of a batch is remembered, so 'training.batch_size' must be even")
        return self
