"""The configuration of ``myosotis pretrain``."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, LocalPath, RunName
from myosotis.engine.loop import Precision
from myosotis.engine.method import Count, NamedConfig, NotNegative, Positive, Share, Whole
from myosotis.engine.schedule import Schedule
from myosotis.pretraining.finetuning import FinetuneSettings
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.maskers.masker import Momentum, Part
from myosotis.pretraining.objectives import OBJECTIVES
from myosotis.pretraining.training import PretrainSettings


class PretrainDataConfig(Config):
    """The images. Labels, where there are any, are read by probes and fine-tuning alone.

    ``only`` names the classes that take part; the limits draw a part of the images, class by class alike.
    """

    train: SourceConfig
    test: SourceConfig | None = None
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: Count | None = None
    test_limit: Count | None = None

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
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "PretrainModelConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        if self.pretrained and self.init_from is not None:
            raise ValueError("give either 'pretrained' or 'init_from'")
        return self


class ObjectiveConfig(NamedConfig):
    """How the network learns from what is hidden: ``mae`` or ``simmim``, and its settings beside it."""

    name: str = "mae"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of an objective."""
        return OBJECTIVES.settings(name, settings)


class MaskerConfig(NamedConfig):
    """What is hidden: a masker's name, and its settings beside it."""

    name: str = "salience"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a masker."""
        return build_masker(name, settings).settings


class PretrainTrainingConfig(Config):
    """Settings of the training; see :class:`~myosotis.pretraining.training.PretrainSettings`.

    ``gradient_checkpointing`` keeps no activations of blocks and computes them again: less memory, a third more time.
    """

    epochs: Count = PretrainSettings.epochs
    base_learning_rate: Positive = PretrainSettings.base_learning_rate
    weight_decay: NotNegative = PretrainSettings.weight_decay
    betas: tuple[Momentum, Momentum] = PretrainSettings.betas
    batch: Annotated[int, Field(ge=2)] = PretrainSettings.batch
    schedule: Schedule = PretrainSettings.schedule
    warmup: Whole | None = PretrainSettings.warmup
    area: tuple[Part, Part] = PretrainSettings.area
    flip: Part = PretrainSettings.flip
    max_grad_norm: Positive | None = PretrainSettings.max_grad_norm
    precision: Precision = PretrainSettings.precision
    accumulate: Count = PretrainSettings.accumulate
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _belongs(self) -> "PretrainTrainingConfig":
        if not 0 < self.area[0] <= self.area[1]:
            raise ValueError("'area' must be two ascending shares above 0")
        if self.schedule == "onecycle" and self.warmup != 0:
            raise ValueError("'onecycle' rises by itself; set 'warmup' to 0")
        if self.warmup is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs}")
        return self


class EncoderProbesConfig(Config):
    """How the encoder is measured, before and after: by a linear probe and by nearest neighbours on frozen features.

    ``samples`` labelled training images, as many of each class, vote and teach; None: all of them. ``cells`` above 1
    keeps the layout of features, see :func:`~myosotis.pretraining.encoder_probes.encoder_features`. ``data`` names
    other, labelled images; without it they are the job's own.
    """

    samples: Count | None = None
    neighbours: Count = 20
    cells: Count = 1
    data: DataConfig | None = None


class FinetuneConfig(Config):
    """How a classifier is trained on top; see :class:`~myosotis.pretraining.finetuning.FinetuneSettings`."""

    epochs: Count = FinetuneSettings.epochs
    base_learning_rate: Positive = FinetuneSettings.base_learning_rate
    layer_decay: Annotated[float, Field(gt=0, le=1)] = FinetuneSettings.layer_decay
    weight_decay: NotNegative = FinetuneSettings.weight_decay
    drop_path: Annotated[float, Field(ge=0, lt=1)] = FinetuneSettings.drop_path
    batch: Annotated[int, Field(ge=2)] = FinetuneSettings.batch
    warmup: Whole | None = FinetuneSettings.warmup
    mixup: NotNegative = FinetuneSettings.mixup
    cutmix: NotNegative = FinetuneSettings.cutmix
    smoothing: Annotated[float, Field(ge=0, lt=1)] = FinetuneSettings.smoothing
    shift: Whole = FinetuneSettings.shift
    flip: bool = FinetuneSettings.flip
    precision: Precision = FinetuneSettings.precision

    @model_validator(mode="after")
    def _belongs(self) -> "FinetuneConfig":
        if self.warmup is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs}")
        return self


class PretrainConfig(Config):
    """One job: images, an encoder, what is hidden and how much of it, and how the encoder is measured afterwards.

    ``ratio`` is the share of hidden tokens, which goes to ``ratio_end`` during the training, or stays. ``probes`` are
    made before and after; ``finetune`` trains a classifier at the end. ``shown`` is how many images the report draws.
    """

    name: RunName
    seed: Whole = 0
    data: PretrainDataConfig
    model: PretrainModelConfig = PretrainModelConfig()
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    masker: MaskerConfig = Field(default_factory=MaskerConfig)
    ratio: Share = PretrainSettings.ratio
    ratio_end: Share | None = PretrainSettings.ratio_end
    training: PretrainTrainingConfig = PretrainTrainingConfig()
    probes: EncoderProbesConfig | None = EncoderProbesConfig()
    finetune: FinetuneConfig | None = None
    shown: Whole = 8
    checkpoint_every: Count = 1
    confidence: Share = 0.95

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
