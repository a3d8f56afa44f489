"""The configuration of ``myosotis learn representations``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from myosotis.continual.selfsupervised.bases import check_base
from myosotis.continual.selfsupervised.measuring import ProbeSettings
from myosotis.continual.selfsupervised.methods import METHODS, check_settings
from myosotis.continual.selfsupervised.methods.pnr import LAMBDA, PnrSettings, check_pnr, strengths
from myosotis.continual.selfsupervised.training import SslOptimizer, SslSettings
from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.data.views import ViewSettings
from myosotis.engine.config import Config, RunName
from myosotis.engine.loop import Precision
from myosotis.engine.method import Count, NamedConfig, NotNegative, Positive, Share, Whole
from myosotis.engine.schedule import Schedule
from myosotis.evaluation.representation import Mode

Change = Literal["none", "invert", "rotate_90", "rotate_180"]
Pair = tuple[NotNegative, NotNegative]


class DomainConfig(DataConfig):
    """One domain: a training and a test set, and what is done to their images."""

    change: Change = "none"


class RepresentDataConfig(Config):
    """The images: a training and a test set, or the two of each domain. Labels are read by probes alone.

    ``only`` names the classes that take part; the limits draw a part of them, class by class alike.
    """

    train: SourceConfig | None = None
    test: SourceConfig | None = None
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: Count | None = None
    test_limit: Count | None = None
    domains: Annotated[tuple[DomainConfig, ...], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "RepresentDataConfig":
        if self.domains is None:
            if self.train is None or self.test is None:
                raise ValueError("give 'train' and 'test', or 'domains'")
            return self
        given = next(
            (key for key in type(self).model_fields if key != "domains" and getattr(self, key) is not None), None
        )
        if given is not None:
            raise ValueError(f"'{given}' belongs to each of the 'domains'")
        return self

    def single(self) -> DataConfig:
        """Return both sets where there is one domain."""
        assert self.train is not None  # noqa: S101 - checked
        assert self.test is not None  # noqa: S101
        return DataConfig(
            train=self.train, test=self.test, only=self.only, limit=self.limit, test_limit=self.test_limit
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """What it reads."""
        every = [self.single()] if self.domains is None else list(self.domains)
        return tuple(path for one in every for source in (one.train, one.test) for path in source.paths)

    def resolved(self, place: Callable[[str | None], str | None]) -> "RepresentDataConfig":
        """Return it with every path as ``place`` makes it."""
        changed: dict[str, Any] = {}
        for key in ("train", "test"):
            source = getattr(self, key)
            changed[key] = None if source is None else source.resolved(place)
        if self.domains is not None:
            changed["domains"] = tuple(
                one.model_copy(update={"train": one.train.resolved(place), "test": one.test.resolved(place)})
                for one in self.domains
            )
        return self.model_copy(update=changed)


class RepresentStreamConfig(Config):
    """What comes when: ``class``, some classes after others, in an order that ``order_seed`` or the job's seed draws
    unless ``class_order`` gives it; ``data``, the samples of all classes dealt out; ``domain``, one data set after
    another.
    """

    kind: Literal["class", "data", "domain"] = "class"
    first: Count | None = None
    per_task: Count | tuple[Count, ...] | None = None
    class_order: tuple[str | int, ...] | Literal["as_listed"] | None = None
    order_seed: Whole | None = None
    tasks: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _belongs(self) -> "RepresentStreamConfig":
        if self.class_order is not None and self.order_seed is not None:
            raise ValueError("give either 'class_order' or 'order_seed'")
        of_class = ("first", "per_task", "class_order", "order_seed")
        given = [key for key in of_class if getattr(self, key) is not None]
        if self.kind == "class" and (self.first is None or self.per_task is None):
            raise ValueError("a 'class' stream needs 'first' and 'per_task'")
        if self.kind != "class" and given:
            raise ValueError(f"'{given[0]}' belongs to 'kind: class'")
        if (self.kind == "data") != (self.tasks is not None):
            raise ValueError("'tasks' goes with 'kind: data'")
        return self


class EncoderConfig(Config):
    """The encoder: ``small-resnet`` or a name that timm knows. Pixel statistics are the first task's unless given."""

    architecture: str = "small-resnet"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "EncoderConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        if self.pretrained and self.architecture == "small-resnet":
            raise ValueError("small-resnet has no pre-trained weights")
        return self


class BaseConfig(NamedConfig):
    """The self-supervised loss: its name, and its settings beside it."""

    name: str = "moco"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a base."""
        return check_base(name, settings)


class SslMethodConfig(NamedConfig):
    """A method: its name, and its settings beside it."""

    name: str = "pnr"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a method."""
        return check_settings(name, settings)


class ViewsConfig(Config):
    """How views are drawn; see :class:`~myosotis.data.views.ViewSettings`."""

    area: tuple[Positive, Positive] = ViewSettings.area
    ratio: tuple[Positive, Positive] = ViewSettings.ratio
    flip: NotNegative = ViewSettings.flip
    jitter: NotNegative = ViewSettings.jitter
    brightness: NotNegative = ViewSettings.brightness
    contrast: NotNegative = ViewSettings.contrast
    saturation: NotNegative = ViewSettings.saturation
    hue: NotNegative = ViewSettings.hue
    grey: NotNegative = ViewSettings.grey
    blur: Pair = ViewSettings.blur
    sigma: tuple[Positive, Positive] = ViewSettings.sigma
    solarise: Pair = ViewSettings.solarise

    @model_validator(mode="after")
    def _in_range(self) -> "ViewsConfig":
        ViewSettings(**self.model_dump())
        return self


class SslTrainingConfig(Config):
    """How each task is trained; see :class:`~myosotis.continual.selfsupervised.training.SslSettings`."""

    epochs: Count = SslSettings.epochs
    learning_rate: Positive = SslSettings.learning_rate
    optimizer: SslOptimizer = SslSettings.optimizer
    momentum: Annotated[float, Field(ge=0, lt=1)] = SslSettings.momentum
    weight_decay: NotNegative = SslSettings.weight_decay
    batch: Annotated[int, Field(ge=2)] = SslSettings.batch
    memory_batch: Count | None = SslSettings.memory_batch
    schedule: Schedule = SslSettings.schedule
    warmup: Whole = SslSettings.warmup
    views: ViewsConfig = ViewsConfig()
    max_grad_norm: Positive | None = SslSettings.max_grad_norm
    precision: Precision = SslSettings.precision
    accumulate: Count = SslSettings.accumulate

    @model_validator(mode="after")
    def _belongs(self) -> "SslTrainingConfig":
        if self.optimizer == "adamw" and self.momentum != SslSettings.momentum:
            raise ValueError("'momentum' belongs to 'sgd' and 'lars'")
        if self.warmup and self.schedule == "onecycle":
            raise ValueError("'onecycle' rises by itself; leave 'warmup' out")
        if self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs leaves nothing of {self.epochs}")
        return self


class ProbesConfig(Config):
    """How encoders are measured; see :class:`~myosotis.continual.selfsupervised.measuring.ProbeSettings`.

    ``transfer`` names other data sets.
    """

    mode: Mode = ProbeSettings.mode
    per_class: Annotated[int, Field(ge=2)] = ProbeSettings.per_class
    neighbours: Count = ProbeSettings.neighbours
    shares: tuple[Share, ...] = ProbeSettings.shares
    drift_samples: Annotated[int, Field(ge=2)] = ProbeSettings.drift_samples
    transfer: dict[str, DataConfig] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_effect(self) -> "ProbesConfig":
        if self.mode == "full" and self.per_class != ProbeSettings.per_class:
            raise ValueError("'per_class' belongs to 'mode: balanced'")
        return self


class RepresentationConfig(Config):
    """One job: a stream, an encoder, a self-supervised loss, a method, and how all of it is trained and measured.

    ``memory`` is how many samples are stored; ``shown`` how many test samples the report's map shows; ``keep_learners``
    keeps the learner after each task.
    """

    name: RunName
    seed: Whole = 0
    data: RepresentDataConfig
    scenario: RepresentStreamConfig
    model: EncoderConfig = EncoderConfig()
    base: BaseConfig = Field(default_factory=BaseConfig)
    method: SslMethodConfig = Field(default_factory=SslMethodConfig)
    memory: Whole = 0
    training: SslTrainingConfig = SslTrainingConfig()
    probes: ProbesConfig = ProbesConfig()
    checkpoint_every: Count = 1
    keep_learners: bool = False
    shown: Whole = 1000
    confidence: Share = 0.95

    @model_validator(mode="after")
    def _fits_together(self) -> "RepresentationConfig":
        method, base = METHODS[self.method.name], self.base.name
        if (self.scenario.kind == "domain") != (self.data.domains is not None):
            raise ValueError("'data.domains' goes with 'scenario.kind: domain'")
        if method.reads_memory and not self.memory:
            raise ValueError(f"method '{self.method.name}' needs a 'memory', how many samples are stored")
        if self.memory and not method.reads_memory:
            raise ValueError(f"method '{self.method.name}' reads no stored samples: leave 'memory' out")
        if self.training.memory_batch is not None and (not method.reads_memory or method.mixes):
            raise ValueError(f"'training.memory_batch' has no effect on '{self.method.name}'")
        if self.method.name == "pnr":
            check_pnr(PnrSettings(**self.method.settings), base, self.scenario.kind)
        return self


def resolve_paths(config: RepresentationConfig, folder: Path) -> RepresentationConfig:
    """Return the configuration with the paths in it made absolute, relative ones taken from ``folder``.

    What PNR leaves to base and scenario is spelled out too.
    """

    def place(path: str | None) -> str | None:
        return None if path is None else str((folder / Path(path).expanduser()).resolve())

    transfer = {
        name: one.model_copy(update={"train": one.train.resolved(place), "test": one.test.resolved(place)})
        for name, one in config.probes.transfer.items()
    }
    method = config.method
    if method.name == "pnr" and config.base.name in LAMBDA:
        lam, mu = strengths(PnrSettings(**method.settings), config.base.name, config.scenario.kind)
        method = SslMethodConfig(name="pnr", **{**method.settings, "lam": lam, "mu": mu})
    return config.model_copy(
        update={
            "data": config.data.resolved(place),
            "probes": config.probes.model_copy(update={"transfer": transfer}),
            "method": method,
        }
    )
