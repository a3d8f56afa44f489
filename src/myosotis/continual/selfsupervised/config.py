"""The configuration of ``learn-representations``."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from myosotis.continual.config import BackboneConfig, ClassOrderConfig, ReservoirConfig, StreamJobConfig
from myosotis.continual.selfsupervised.bases import BASES
from myosotis.continual.selfsupervised.measuring import ProbeSettings
from myosotis.continual.selfsupervised.methods import METHODS
from myosotis.continual.selfsupervised.methods.pnr import LAMBDA, PNRSettings, check_pnr, strengths
from myosotis.continual.selfsupervised.training import SslSettings
from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config
from myosotis.engine.method import Fraction, NamedConfig

Change = Literal["none", "invert", "rotate_90", "rotate_180"]


class DomainConfig(DataConfig):
    """A domain: a training and a test set, and the change of their images.

    Attributes:
        change: Change of the images: none, or one that makes a new domain of the same files.
    """

    change: Change = "none"


class RepresentDataConfig(Config):
    """The images: a training and a test set, or the two of each domain. Only probes read labels.

    Attributes:
        train: Training images.
        test: Test images of the probes.
        only: Names of the classes to use; all unless given.
        limit: Number of training images to draw, balanced over the classes; all unless given.
        test_limit: Number of test images to draw, balanced over the classes; all unless given.
        domains: Data set of each task, for ``kind: domain``.
    """

    train: SourceConfig | None = None
    test: SourceConfig | None = None
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None
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
        """Return both sets of a stream without domains."""
        assert self.train is not None  # noqa: S101 - checked
        assert self.test is not None  # noqa: S101
        return DataConfig(
            train=self.train, test=self.test, only=self.only, limit=self.limit, test_limit=self.test_limit
        )


class RepresentStreamConfig(ClassOrderConfig):
    """The tasks of the stream.

    Attributes:
        kind: ``class`` splits the classes, ``data`` the samples, ``domain`` has a data set for each task.
        first: Of ``class``: number of classes of the first task.
        per_task: Of ``class``: number of classes of each later task, or a list of them.
        tasks: Of ``data``: number of tasks.
    """

    kind: Literal["class", "data", "domain"] = "class"
    first: PositiveInt | None = None
    per_task: PositiveInt | tuple[PositiveInt, ...] | None = None
    tasks: PositiveInt | None = None

    @model_validator(mode="after")
    def _belongs(self) -> "RepresentStreamConfig":
        of_class = ("first", "per_task", "class_order", "order_seed")
        given = [key for key in of_class if getattr(self, key) is not None]
        if self.kind == "class" and (self.first is None or self.per_task is None):
            raise ValueError("a 'class' stream needs 'first' and 'per_task'")
        if self.kind != "class" and given:
            raise ValueError(f"'{given[0]}' belongs to 'kind: class'")
        if (self.kind == "data") != (self.tasks is not None):
            raise ValueError("'tasks' goes with 'kind: data'")
        return self


class BaseConfig(NamedConfig):
    """The self-supervised loss: its name and its settings."""

    registry = BASES

    name: str = "moco"


class SslMethodConfig(NamedConfig):
    """A method: its name and its settings."""

    registry = METHODS

    name: str = "pnr"


class ProbesConfig(ProbeSettings):
    """How encoders are measured.

    Attributes:
        transfer: Other data sets, by name.
    """

    transfer: dict[str, DataConfig] = Field(default_factory=dict)


class RepresentationConfig(StreamJobConfig):
    """One job: a stream, an encoder, a self-supervised loss, a method, their training, and the probes.

    Attributes:
        data: Images, labelled or not.
        scenario: Tasks of the stream.
        model: Encoder, by its architecture.
        base: Self-supervised loss.
        method: Continual-learning method.
        memory: Memory of images, of methods that replay.
        training: Training of each task.
        probes: Measurement of the encoder after each task.
        shown: Number of test samples on the map of the report.
        confidence: Level of the confidence intervals.
    """

    job: Literal["learn-representations"] = "learn-representations"
    data: RepresentDataConfig
    scenario: RepresentStreamConfig
    model: BackboneConfig = BackboneConfig()
    base: BaseConfig = Field(default_factory=BaseConfig)
    method: SslMethodConfig = Field(default_factory=SslMethodConfig)
    memory: ReservoirConfig = ReservoirConfig()
    training: SslSettings = SslSettings()
    probes: ProbesConfig = ProbesConfig()
    shown: NonNegativeInt = 1000
    confidence: Fraction = 0.95

    @model_validator(mode="after")
    def _fits_together(self) -> "RepresentationConfig":
        method, base = METHODS[self.method.name], self.base.name
        if (self.scenario.kind == "domain") != (self.data.domains is not None):
            raise ValueError("'data.domains' goes with 'scenario.kind: domain'")
        if method.reads_memory and not self.memory.total:
            raise ValueError(f"method '{self.method.name}' needs a 'memory': give its 'total'")
        if self.memory.total and not method.reads_memory:
            raise ValueError(f"method '{self.method.name}' reads no stored samples: leave 'memory' out")
        if self.training.memory_batch_size is not None and (not method.reads_memory or method.mixes):
            raise ValueError(f"'training.memory_batch_size' has no effect on '{self.method.name}'")
        if self.method.name == "pnr":
            pnr = PNRSettings(**self.method.settings)
            check_pnr(pnr, base, self.scenario.kind)
            if base in LAMBDA:
                # A configuration names every setting, so the default weights of base and scenario are written out.
                lam, mu = strengths(pnr, base, self.scenario.kind)
                complete = SslMethodConfig(name="pnr", **{**self.method.settings, "lam": lam, "mu": mu})
                object.__setattr__(self, "method", complete)
        return self
