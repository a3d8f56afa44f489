"""The configuration of ``pretrain``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.engine.method import Fraction, NamedConfig
from myosotis.models.weight_files import Pretrained
from myosotis.pretraining.finetuning import FinetuneSettings
from myosotis.pretraining.maskers import MASKERS
from myosotis.pretraining.objectives import OBJECTIVES
from myosotis.pretraining.training import PretrainTraining


class PretrainDataConfig(Config):
    """The images. Labels, where there are any, are read by probes and fine-tuning alone.

    Attributes:
        train: Training images.
        test: Test images of the probes.
        only: Names of the classes to use; all unless given.
        limit: Number of training images to draw, balanced over the classes; all unless given.
        test_limit: Number of test images to draw, balanced over the classes; all unless given.
    """

    train: SourceConfig
    test: SourceConfig | None = None
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _belongs(self) -> "PretrainDataConfig":
        if self.test is None and (self.only is not None or self.test_limit is not None):
            raise ValueError("'only' and 'test_limit' need a 'test' set")
        return self

    def both(self) -> DataConfig:
        """Return training and test set where there are both."""
        assert self.test is not None  # noqa: S101 - the caller has checked it
        return DataConfig(**self.model_dump())


class PretrainModelConfig(Config):
    """The encoder. ``mean: [0], std: [1]`` leaves pixels in [0, 1], which changes what is salient.

    Attributes:
        architecture: Name that timm knows.
        options: Further arguments of the architecture, e.g. ``{patch_size: 4}`` of a vision transformer.
        pretrained: Whether timm fetches its pre-trained weights.
        weights: File of pre-trained weights, safetensors or ``.pth``, instead; names that differ are matched by order
            and shape.
        init_from: Directory ``model`` of an earlier run with the same network, to continue from.
        mean: Mean pixel value of each channel, in [0, 1]; with ``std``. Without both, those of the training images are
            used.
        std: Standard deviation of each channel.
    """

    architecture: str = "vit_small_patch16_224"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    weights: LocalPath | None = None
    init_from: LocalPath | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "PretrainModelConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        given = [name for name in ("pretrained", "weights", "init_from") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"give either '{given[0]}' or '{given[1]}'")
        return self

    @property
    def source(self) -> Pretrained:
        """Weights to begin with, other than those of an earlier run."""
        return self.pretrained if self.weights is None else Path(self.weights)


class ObjectiveConfig(NamedConfig):
    """How the network learns from what is hidden."""

    registry = OBJECTIVES

    name: str = "mae"


class MaskerConfig(NamedConfig):
    """What is hidden."""

    registry = MASKERS

    name: str = "salience"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a masker, which its constructor checks together."""
        return MASKERS.build(name, settings).settings


class PretrainTrainingConfig(PretrainTraining):
    """Settings of the training.

    Attributes:
        gradient_checkpointing: Keep no activations of blocks and compute them again: less memory, a third more time.
    """

    gradient_checkpointing: bool = False


class EncoderProbesConfig(Config):
    """How the encoder is measured, before and after: by a linear probe and by nearest neighbours on frozen features.

    Attributes:
        samples: Number of labelled training images of the probes, balanced over the classes; all unless given.
        neighbours: Number k of the nearest-neighbour probe.
        cells: Side of the grid that features are averaged in; 1 is their mean.
        data: Labelled images for the probes; the job's own unless given.
    """

    samples: PositiveInt | None = None
    neighbours: PositiveInt = 20
    cells: PositiveInt = 1
    data: DataConfig | None = None


class PretrainConfig(JobConfig):
    """One job: images, an encoder, what is hidden and how much of it, and how the encoder is measured afterwards.

    Attributes:
        data: Images, labelled or not.
        model: Encoder, by its architecture.
        objective: Objective.
        masker: Choice of what is hidden.
        ratio: Share of hidden tokens.
        ratio_end: Share at the end of the training, reached in equal steps; ``ratio`` unless given.
        training: Training.
        probes: Measurement before and after; null leaves it out.
        finetune: Fine-tuning of a classifier at the end; none unless given.
        shown: Number of images that the report draws.
        checkpoint_every: Epochs between checkpoints.
        confidence: Level of the confidence intervals.
    """

    job: Literal["pretrain"] = "pretrain"
    data: PretrainDataConfig
    model: PretrainModelConfig = PretrainModelConfig()
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    masker: MaskerConfig = Field(default_factory=MaskerConfig)
    ratio: Fraction = 0.75
    ratio_end: Fraction | None = None
    training: PretrainTrainingConfig = PretrainTrainingConfig()
    probes: EncoderProbesConfig | None = EncoderProbesConfig()
    finetune: FinetuneSettings | None = None
    shown: NonNegativeInt = 8
    checkpoint_every: PositiveInt = 1
    confidence: Fraction = 0.95

    @model_validator(mode="after")
    def _labelled(self) -> "PretrainConfig":
        labelled = self.data.test is not None or (self.probes is not None and self.probes.data is not None)
        if not labelled and self.probes is not None:
            raise ValueError("nothing to measure with: give 'data.test' or 'probes.data', or set 'probes' to null")
        if self.finetune is not None and not labelled:
            raise ValueError("'finetune' needs labelled images: give 'data.test' or 'probes.data'")
        own = self.probes is None or self.probes.data is None
        if not own and self.data.test is not None:
            raise ValueError("'data.test' is not read if 'probes.data' is given; leave one of them out")
        if self.data.train.images is not None and own and (self.probes is not None or self.finetune is not None):
            raise ValueError("'data.train' has no labels: name labelled images in 'probes.data'")
        return self
