"""The configuration of ``learn-classes``."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, GetJsonSchemaHandler, NonNegativeInt, PositiveInt, model_validator

from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.norm.partition import DivisorOf, Mode
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.config import BackboneConfig, ClassOrderConfig, StreamJobConfig
from myosotis.continual.memory import ExemplarMemory, Selection
from myosotis.data.sets import DataConfig
from myosotis.data.sources import SourceConfig
from myosotis.engine.config import Config, LocalPath
from myosotis.engine.method import Fraction, NamedConfig


class StreamConfig(ClassOrderConfig):
    """The order of the classes and the sizes of the tasks.

    Attributes:
        first: Number of classes of the first task.
        per_task: Number of classes of each later task.
        validation: Share of each class that is held out of training.
    """

    first: PositiveInt
    per_task: PositiveInt | tuple[PositiveInt, ...]
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ModelConfig(BackboneConfig):
    """The backbone.

    Attributes:
        init_from: Run with ``keep_learners`` on the same first task, or the learner after that task: its encoder is
            frozen, its pixel statistics are used, and the first task trains only the head.
        feature_cache: Directory that the features of a body that is never trained are kept in, for further runs.
    """

    init_from: LocalPath | None = None
    feature_cache: LocalPath | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "ModelConfig":
        others = self.pretrained or self.weights or self.image_size or self.mean is not None
        if self.init_from is not None and others:
            raise ValueError("'init_from' provides its own weights, pixel statistics and image size")
        return self


class NormConfig(Config):
    """The normalisation layers of the network.

    Attributes:
        kind: ``bn``: batch normalisation; ``tbbn``: task-balanced; ``cn``: continual; ``gn``: group normalisation.
        divisor_of: Of ``tbbn``: sizes that the number of splits divides, current and remembered samples (``both``, as
            in the authors' code) or current ones alone.
        mode: Of ``tbbn``: the ``exact`` method, or one pair of ``weighted`` moments.
        sync: Of ``tbbn``: whether processes share the statistics of a batch.
        groups: Of ``cn`` and ``gn``: number of groups of channels.
    """

    kind: Literal["bn", "tbbn", "cn", "gn"] = "bn"
    divisor_of: DivisorOf = "both"
    mode: Mode = "exact"
    sync: bool = False
    groups: PositiveInt = 8

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of a kind alone, or of all settings."""
        full = super().__get_pydantic_json_schema__(core_schema, handler)
        return {"anyOf": [{"enum": list(get_args(cls.model_fields["kind"].annotation))}, full]}

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
    """A method: its name and its settings."""

    registry = METHODS

    name: str = "er"


class MemoryConfig(Config):
    """The exemplar memory.

    Attributes:
        total: Number of exemplars over all classes; 0 is no memory.
        per_class: Number of exemplars of each class, instead of ``total``.
        selection: Rule by which exemplars are chosen.
    """

    total: NonNegativeInt | None = None
    per_class: PositiveInt | None = None
    selection: Selection = "herding"

    @model_validator(mode="after")
    def _one_budget(self) -> "MemoryConfig":
        ExemplarMemory(total=self.total, per_class=self.per_class, selection=self.selection)
        return self


class ClassLearningConfig(StreamJobConfig):
    """One job: a stream of classes, a network, a method, and its training.

    ``keep_learners`` saves the learner after each task, for ``myosotis probe``.

    Attributes:
        data: Training and test images.
        scenario: Order of the classes and sizes of the tasks.
        model: Network, by its architecture.
        method: Continual-learning method.
        norm: Normalisation layers.
        memory: Exemplar memory.
        training: Training of each task.
        confidence: Level of the confidence intervals.
        continue_from: Finished run, or an exact forgetting in one, whose learner goes on: ``scenario`` is that of the
            further classes, and ``data`` holds the test images of all, and the exemplars.
        forgotten: With ``continue_from``, what becomes of training images that were forgotten in that run: ``refuse``
            ends the job, ``drop`` leaves them out.
        watch: With ``continue_from``, images that were forgotten, where somebody still has them: their accuracy is
            measured after each task, and nothing is learnt from them.
    """

    job: Literal["learn-classes"] = "learn-classes"
    data: DataConfig
    scenario: StreamConfig
    model: ModelConfig = ModelConfig()
    method: MethodConfig = Field(default_factory=lambda: MethodConfig(name="er"))
    norm: NormConfig = NormConfig()
    memory: MemoryConfig = MemoryConfig(total=2000)
    training: TrainSettings = TrainSettings()
    confidence: Fraction = 0.95
    continue_from: LocalPath | None = None
    forgotten: Literal["refuse", "drop"] = "refuse"
    watch: SourceConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _memory_of_the_method(cls, values: Any) -> Any:
        """Fill in the memory of the method: none, a reservoir that it fills itself, or herded exemplars."""
        method = values.get("method", "er") if isinstance(values, dict) else None
        name = method.get("name", "er") if isinstance(method, dict) else method
        if not isinstance(name, str) or name not in METHODS:
            return values
        kind = METHODS[name]
        selection = "reservoir" if kind.own_memory else "herding"
        memory = values.get("memory", {"total": 2000 if kind.reads_memory else 0})
        if not isinstance(memory, dict) or "selection" in memory:
            return values
        return {**values, "memory": {**memory, "selection": selection}}

    @model_validator(mode="after")
    def _fits_together(self) -> "ClassLearningConfig":
        method = METHODS[self.method.name]
        batch = self.training.memory_batch_size
        if batch is not None and batch >= self.training.batch_size:
            raise ValueError("'training.memory_batch_size' must be smaller than 'training.batch_size'")
        is_none = not self.memory.total and not self.memory.per_class
        if method.needs_memory and is_none:
            raise ValueError(f"method '{self.method.name}' needs a 'memory'")
        if not method.reads_memory and not is_none:
            raise ValueError(f"method '{self.method.name}' reads no exemplars: leave 'memory' out, or give 'total: 0'")
        if batch is not None and (is_none or not method.reads_memory):
            raise ValueError("'training.memory_batch_size' has no effect: no remembered samples are read")
        plain = TrainSettings.model_fields
        of_steps = [key for key in ("drops", "drop_factor") if getattr(self.training, key) != plain[key].default]
        if self.training.schedule != "step" and of_steps:
            raise ValueError(f"'training.{of_steps[0]}' belongs to 'training.schedule: step'")
        if self.training.nesterov and not self.training.momentum:
            raise ValueError("'training.nesterov' needs a 'training.momentum'")
        if self.continue_from is None and (self.forgotten != "refuse" or self.watch is not None):
            raise ValueError(f"'{'watch' if self.watch else 'forgotten'}' belongs to 'continue_from'")
        if self.continue_from is not None and self.model.init_from is not None:
            raise ValueError("'continue_from' has a learner already; leave out 'model.init_from'")
        if not method.trains:
            self._check_frozen()
        elif self.model.feature_cache is not None:
            raise ValueError(f"'model.feature_cache' has no effect: '{self.method.name}' changes the features")
        if self.norm.kind == "tbbn" and not method.reads_memory:
            raise ValueError(f"'tbbn' balances current and remembered samples; '{self.method.name}' remembers none")
        if self.norm.kind == "tbbn" and batch is None:
            raise ValueError("'tbbn' needs 'training.memory_batch_size', how many remembered samples a batch holds")
        if method.own_memory and self.memory.selection != "reservoir":
            raise ValueError(f"method '{self.method.name}' uses a reservoir, so 'memory.selection' must be 'reservoir'")
        return self

    def _check_frozen(self) -> None:
        """Refuse settings of a training, and a body without weights."""
        name = self.method.name
        given, plain = self.training, TrainSettings()
        changed = next((key for key in TrainSettings.model_fields if getattr(given, key) != getattr(plain, key)), None)
        if changed is not None:
            raise ValueError(f"method '{name}' trains nothing: leave out 'training.{changed}'")
        if self.norm.kind != "bn":
            raise ValueError(f"method '{name}' leaves the body as it is: leave out 'norm'")
        if self.model.source is False and self.model.init_from is None and self.continue_from is None:
            raise ValueError(
                f"method '{name}' leaves the body as it is, which needs weights: give 'model.pretrained', "
                "'model.weights' or 'model.init_from'"
            )
