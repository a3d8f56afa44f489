"""The configuration of ``myosotis learn classes``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from myosotis.continual.classification.methods import METHODS, check_settings
from myosotis.continual.classification.norm.partition import DivisorOf, Mode
from myosotis.continual.classification.training import TrainSettings
from myosotis.continual.memory import ExemplarMemory, Selection
from myosotis.data.sets import DataConfig
from myosotis.engine.config import Config, RunName
from myosotis.engine.loop import Precision
from myosotis.engine.method import Count, NamedConfig, NotNegative, Positive, Share, Whole
from myosotis.engine.schedule import Schedule
from myosotis.engine.tracking import Tracker


class StreamConfig(Config):
    """Which classes come when. Without ``class_order`` it is drawn by ``order_seed``, or by the job's seed."""

    first: Count
    per_task: Count | tuple[Count, ...]
    class_order: tuple[str | int, ...] | Literal["as_listed"] | None = None
    order_seed: Whole | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _one_order(self) -> "StreamConfig":
        if self.class_order is not None and self.order_seed is not None:
            raise ValueError("give either 'class_order' or 'order_seed'")
        return self


class ModelConfig(Config):
    """The backbone: ``small-resnet`` or a name that timm knows. Pixel statistics are the first task's unless given.

    ``init_from`` names a run with ``keep_learners`` on the same first task, or what a learner was after it: its encoder
    is taken as it is, with its pixel statistics, and the first task trains the head alone.
    """

    architecture: str = "small-resnet"
    options: dict[str, Any] = Field(default_factory=dict)
    pretrained: bool = False
    init_from: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> "ModelConfig":
        if (self.mean is None) != (self.std is None):
            raise ValueError("'mean' and 'std' go together")
        if self.pretrained and self.architecture == "small-resnet":
            raise ValueError("small-resnet has no pre-trained weights")
        if self.init_from is not None and (self.pretrained or self.mean is not None):
            raise ValueError("'init_from' brings weights and pixel statistics of its own")
        return self


class NormConfig(Config):
    """The normalisation: ``bn`` leaves the network as it is, ``tbbn`` balances tasks, ``cn`` and ``gn`` compare."""

    kind: Literal["bn", "tbbn", "cn", "gn"] = "bn"
    divisor_of: DivisorOf = "both"
    mode: Mode = "exact"
    sync: bool = False
    groups: Count = 8

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, values: Any) -> Any:
        return {"kind": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _has_effect(self) -> "NormConfig":
        plain = NormConfig.model_fields
        of_tbbn = [name for name in ("divisor_of", "mode", "sync") if getattr(self, name) != plain[name].default]
        if self.kind != "tbbn" and of_tbbn:
            raise ValueError(f"'{of_tbbn[0]}' belongs to 'tbbn'")
        if self.kind in ("bn", "tbbn") and self.groups != plain["groups"].default:
            raise ValueError("'groups' belongs to 'cn' and 'gn'")
        return self


class MethodConfig(NamedConfig):
    """A method: its name, and its settings beside it."""

    name: str = "er"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return all settings of a method."""
        return check_settings(name, settings)


class MemoryConfig(Config):
    """The exemplar memory; ``total: 0`` is none."""

    total: Whole | None = None
    per_class: Count | None = None
    selection: Selection = "herding"

    @model_validator(mode="after")
    def _one_budget(self) -> "MemoryConfig":
        ExemplarMemory(total=self.total, per_class=self.per_class, selection=self.selection)
        return self


class TrainingConfig(Config):
    """How each task is trained; see :class:`~myosotis.continual.classification.training.TrainSettings`."""

    epochs: Count = TrainSettings.epochs
    learning_rate: Positive = TrainSettings.learning_rate
    momentum: Annotated[float, Field(ge=0, lt=1)] = TrainSettings.momentum
    nesterov: bool = TrainSettings.nesterov
    weight_decay: NotNegative = TrainSettings.weight_decay
    batch: Count = TrainSettings.batch
    memory_batch: Count | None = TrainSettings.memory_batch
    schedule: Schedule = TrainSettings.schedule
    drops: Count = TrainSettings.drops
    drop_factor: Annotated[float, Field(gt=0, le=1)] = TrainSettings.drop_factor
    padding: Whole = TrainSettings.padding
    flip: bool = TrainSettings.flip
    max_grad_norm: Positive | None = TrainSettings.max_grad_norm
    precision: Precision = TrainSettings.precision
    accumulate: Count = TrainSettings.accumulate


class ClassLearningConfig(Config):
    """One job: a stream of classes, a network, a method, and how it is trained.

    ``keep_learners`` keeps the learner after each task, for ``myosotis probe``.
    """

    name: RunName
    seed: Whole = 0
    data: DataConfig
    scenario: StreamConfig
    model: ModelConfig = ModelConfig()
    method: MethodConfig = Field(default_factory=lambda: MethodConfig(name="er"))
    norm: NormConfig = NormConfig()
    memory: MemoryConfig = MemoryConfig(total=2000)
    training: TrainingConfig = TrainingConfig()
    checkpoint_every: Count = 1
    keep_learners: bool = False
    confidence: Share = 0.95
    trackers: tuple[Tracker, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _memory_of_the_method(cls, values: Any) -> Any:
        """Spell out what a method makes of the memory: none, one that it fills by itself, or herded exemplars."""
        method = values.get("method", "er") if isinstance(values, dict) else None
        name = method.get("name", "er") if isinstance(method, dict) else method
        if not isinstance(name, str) or name not in METHODS:
            return values
        kind = METHODS[name]
        selection = "reservoir" if kind.own_memory else "herding"
        reads = kind.own_memory or kind.reads_memory
        memory = values.get("memory", {"total": 2000 if reads else 0})
        if not isinstance(memory, dict) or "selection" in memory:
            return values
        return {**values, "memory": {**memory, "selection": selection}}

    @model_validator(mode="after")
    def _fits_together(self) -> "ClassLearningConfig":
        method = METHODS[self.method.name]
        batch = self.training.memory_batch
        if batch is not None and batch >= self.training.batch:
            raise ValueError("'training.memory_batch' must be smaller than 'training.batch'")
        without = not self.memory.total and not self.memory.per_class
        if method.needs_memory and without:
            raise ValueError(f"method '{self.method.name}' needs a 'memory'")
        if not (method.reads_memory or method.own_memory) and not without:
            raise ValueError(f"method '{self.method.name}' reads no exemplars: leave 'memory' out, or give 'total: 0'")
        if batch is not None and (without or not (method.reads_memory or method.own_memory)):
            raise ValueError("'training.memory_batch' has no effect: no remembered samples are read")
        plain = TrainingConfig.model_fields
        of_steps = [key for key in ("drops", "drop_factor") if getattr(self.training, key) != plain[key].default]
        if self.training.schedule != "step" and of_steps:
            raise ValueError(f"'training.{of_steps[0]}' belongs to 'training.schedule: step'")
        if self.training.nesterov and not self.training.momentum:
            raise ValueError("'training.nesterov' needs a 'training.momentum'")
        if self.norm.kind == "tbbn" and not (method.reads_memory or method.own_memory):
            raise ValueError(f"'tbbn' balances current and remembered samples; '{self.method.name}' remembers none")
        if self.norm.kind == "tbbn" and batch is None:
            raise ValueError("'tbbn' needs 'training.memory_batch', how many remembered samples a batch holds")
        if method.own_memory and self.memory.selection != "reservoir":
            raise ValueError(f"method '{self.method.name}' keeps a 'reservoir', so 'memory.selection' must be that")
        return self


def resolve_paths(config: ClassLearningConfig, folder: Path) -> ClassLearningConfig:
    """Return the configuration with the paths in it made absolute, relative ones taken from ``folder``."""

    def place(path: str | None) -> str | None:
        return None if path is None else str((folder / Path(path).expanduser()).resolve())

    sources = {"train": config.data.train.resolved(place), "test": config.data.test.resolved(place)}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=sources),
            "model": config.model.model_copy(update={"init_from": place(config.model.init_from)}),
        }
    )
