"""The configuration of ``protocol``."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.data.sets import DataConfig
from myosotis.engine.config import Config, JobConfig, StorageURL
from myosotis.engine.executors import ExecutorConfig
from myosotis.engine.method import Fraction

Metric = Literal["average_incremental_accuracy", "final_accuracy"]


class SearchConfig(Config):
    """One method: its fixed settings, and the space that its trials draw from.

    Attributes:
        settings: Fixed settings by dotted keys, e.g. ``{method.scale: 10}``.
        space: Values that trials draw from, by dotted keys; unless given the published space, see
            :mod:`myosotis.protocol.spaces`.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    space: dict[str, tuple[Any, ...]] | None = None

    @field_validator("space")
    @classmethod
    def _no_empty_list(cls, space: dict[str, tuple[Any, ...]] | None) -> dict[str, tuple[Any, ...]] | None:
        empty = next((key for key, values in (space or {}).items() if not values), None)
        if empty is not None:
            raise ValueError(f"'{empty}' has no value")
        return space


class PruneConfig(Config):
    """Stop hopeless trials: after each seed but the last, this share of the trials with the best means continues.

    A trial is never judged in the middle of a stream, where early tasks favour plastic settings. The published protocol
    does not prune.

    Attributes:
        keep: Share of the trials that continue after each seed.
    """

    keep: Annotated[float, Field(gt=0, lt=1)] = 0.5


class ProtocolConfig(JobConfig):
    """Tune every method on one stream, freeze the best trial of each, and evaluate it on another stream.

    Attributes:
        shared: Settings of a job ``learn-classes`` that both streams share: all but its name, seed, data and method.
        tuning: Images of the stream that settings are tuned on.
        evaluation: Images of the stream that is reported.
        methods: Methods by their names, each with its search.
        trials: Trials of each method.
        seeds: Seeds of each trial.
        evaluation_seeds: Seeds of the evaluation.
        prune: Early end of the weakest trials; none unless given.
        metric: Figure that trials are chosen by.
        conventional: Whether every trial is also run on the evaluation stream, to show what tuning on the test set
            would have reported.
        storage: URL of the Optuna storage; an SQLite file in the run unless given.
        executor: Processes that carry out the trials.
        confidence: Level of the confidence intervals.
    """

    without_effect: ClassVar[frozenset[str]] = JobConfig.without_effect | frozenset({"executor"})

    job: Literal["protocol"] = "protocol"
    shared: dict[str, Any]
    tuning: DataConfig
    evaluation: DataConfig
    methods: dict[str, SearchConfig]
    trials: PositiveInt = 30
    seeds: PositiveInt = 5
    evaluation_seeds: PositiveInt = 5
    prune: PruneConfig | None = None
    metric: Metric = "average_incremental_accuracy"
    conventional: bool = True
    storage: StorageURL | None = None
    executor: ExecutorConfig = ExecutorConfig()
    confidence: Fraction = 0.95

    @field_validator("methods", mode="before", json_schema_input_type=list[str] | dict[str, SearchConfig | None])
    @classmethod
    def _plain_names(cls, methods: Any) -> Any:
        """``{er: }`` and ``[er, icarl]`` mean the published space."""
        if isinstance(methods, list):
            return {str(name): {} for name in methods}
        return {name: search or {} for name, search in methods.items()} if isinstance(methods, dict) else methods

    @model_validator(mode="after")
    def _known(self) -> "ProtocolConfig":
        if not self.methods:
            raise ValueError("'methods' is empty")
        unknown = next((name for name in self.methods if name not in METHODS), None)
        if unknown is not None:
            raise ValueError(f"unknown method '{unknown}'; known: {', '.join(METHODS)}")
        given = next((key for key in ("name", "seed", "data", "method") if key in self.shared), None)
        if given is not None:
            raise ValueError(f"leave 'shared.{given}' out: the protocol sets it")
        others = ClassLearningConfig.model_fields.keys() - {"scenario", "model", "norm", "memory", "training"}
        idle = next((key for key in self.shared if key in others), None)
        if idle is not None:
            raise ValueError(f"leave 'shared.{idle}' out: it has no effect on the runs of a protocol")
        model = self.shared.get("model")
        if isinstance(model, dict) and model.get("init_from") is not None:
            raise ValueError("leave 'shared.model.init_from' out: all runs start from new weights")
        return self


def unit_config(
    protocol: ProtocolConfig, data: DataConfig, method: str, drawn: dict[str, Any], seed: int
) -> ClassLearningConfig:
    """Return the job of one unit of work.

    Args:
        protocol: Settings that all units share.
        data: Images of the stream.
        method: Name of the method.
        drawn: Settings of the trial, by dotted keys; they win over those fixed for the method.
        seed: Seed of the unit.

    Raises:
        ValueError: The settings do not make a job.
    """
    content: dict[str, Any] = {key: _copied(value) for key, value in protocol.shared.items()}
    content |= {"name": f"{protocol.name}-{method}", "seed": seed, "data": data.model_dump(mode="json")}
    content["method"] = {"name": method}
    for key, value in {**protocol.methods[method].settings, **drawn}.items():
        part = content
        *parents, last = key.split(".")
        for parent in parents:
            inner = part.get(parent)
            part[parent] = dict(inner) if isinstance(inner, dict) else {}
            part = part[parent]
        part[last] = value
    return ClassLearningConfig.model_validate(content)


def _copied(value: Any) -> Any:
    return {key: _copied(inner) for key, inner in value.items()} if isinstance(value, dict) else value
