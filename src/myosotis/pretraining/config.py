"""The configuration of ``myosotis pretrain``."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.engine.method import Fraction, NamedConfig
from myosotis.pretraining.finetuning import FinetuneSettings
from myosotis.pretraining.maskers import MASKERS
from myosotis.pretraining.objectives import OBJECTIVES
from myosotis.pretraining.training import PretrainTraining


class PretrainDataConfig(Config):
    """The images. Labels, where there are any, are read by probes and fine-tuning alone.

    ``only`` names the classes that take part; the limits draw a part of the images, class by class alike.
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
    """The encoder: a name that timm knows. Pixel statistics are the training set's unless given.

    ``mean: [0], std: [1]`` leaves pixels in [0, 1], which changes what is salient. ``init_from`` is the ``model``
    directory of an earlier run with the same network: training goes on from its weights.
    """

    architecture: str = "vit_small_patch16_224"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    init_from: LocalPath | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[PositiveFloat, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "PretrainModelConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        if self.pretrained and self.init_from is not None:
            raise ValueError("give either 'pretrained' or 'init_from'")
        return self


class ObjectiveConfig(NamedConfig):
    """How the network learns from what is hidden: ``mae`` or ``simmim``, and its settings beside it."""

    registry = OBJECTIVES

    name: str = "mae"


class MaskerConfig(NamedConfig):
    """What is hidden: a masker's name, and its settings beside it."""

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

    ``samples`` labelled training images, as many of each class, vote and teach; None: all of them. ``cells`` above 1
    keeps the layout of features, see :func:`~myosotis.pretraining.encoder_probes.encoder_features`. ``data`` names
    other, labelled images; without it they are the job's own.
    """

    samples: PositiveInt | None = None
    neighbours: PositiveInt = 20
    cells: PositiveInt = 1
    data: DataConfig | None = None


class PretrainConfig(JobConfig):
    """One job: images, an encoder, what is hidden and how much of it, and how the encoder is measured afterwards.

    ``ratio`` is the share of hidden tokens, which goes to ``ratio_end`` during the training, or stays. ``probes`` are
    made before and after; ``finetune`` trains a classifier at the end. ``shown`` is how many images the report draws.
    """

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
