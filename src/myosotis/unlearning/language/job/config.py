"""The configuration of ``myosotis unlearn language``."""

import difflib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator
from transformers.training_args import OptimizerNames

from myosotis.data.encoding import CHAT
from myosotis.data.people import MOST_PEOPLE
from myosotis.engine.config import Config, DatasetName, JobConfig, LocalPath, ModelName
from myosotis.engine.loop import Precision
from myosotis.engine.method import NamedConfig
from myosotis.unlearning.language.audit.membership import SCORES, Score
from myosotis.unlearning.language.methods import METHODS, build_method
from myosotis.unlearning.language.methods.composite import Composite
from myosotis.unlearning.language.training.selection import Criterion

Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"]
UnitInterval = Annotated[float, Field(ge=0, le=1)]


def _known_optimizer(name: str) -> str:
    known = [item.value for item in OptimizerNames]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise ValueError(f"unknown optimizer; did you mean '{close[0]}'?" if close else "unknown optimizer")
    return name


class ModelConfig(Config):
    """The model that unlearns."""

    name: ModelName
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"


class PeopleConfig(Config):
    """Fictitious people from a seeded generator instead of files; the job's seed draws them."""

    forget: PositiveInt = 4
    retain: PositiveInt = 16
    unseen: PositiveInt = 8

    @model_validator(mode="after")
    def _enough_names(self) -> "PeopleConfig":
        if self.forget + self.retain + self.unseen > MOST_PEOPLE:
            raise ValueError(f"at most {MOST_PEOPLE} people have different names")
        return self


class FileConfig(Config):
    """A file of JSON lines; ``fields`` maps our keys to the file's."""

    file: LocalPath
    fields: dict[str, str] = Field(default_factory=dict)


class DatasetConfig(Config):
    """A source for the ``datasets`` library."""

    dataset: DatasetName
    split: str = "train"
    subset: str | None = None
    fields: dict[str, str] = Field(default_factory=dict)


Source = LocalPath | FileConfig | DatasetConfig


class DataConfig(Config):
    """Sources of records and how they are formatted; ``replay`` unlearns earlier ``requests`` again with each."""

    people: PeopleConfig | None = None
    forget: Source | None = None
    retain: Source | None = None
    unseen: Source | None = None
    general: Source | None = None
    template: str = "{prompt} {response}"
    max_length: PositiveInt = 512
    append_eos: bool = True
    split_texts: bool = False
    forget_tokens: Literal["response", "facts"] = "response"
    requests: Literal["subject"] | PositiveInt | None = None
    replay: bool = False
    allow_shared: bool = False
    refusals: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_kind_of_source(self) -> "DataConfig":
        if self.people is None and self.forget is None:
            raise ValueError("either 'people' or 'forget' must be given")
        if self.people is not None and (self.forget or self.retain or self.unseen):
            raise ValueError("'people' generates forget, retain and unseen records; leave those keys out")
        if self.replay and self.requests is None:
            raise ValueError("'replay' repeats earlier 'requests', and there are none")
        if self.template == CHAT:
            return self
        order = [self.template.find(field) for field in ("{prompt}", "{response}")]
        once = all(self.template.count(field) == 1 for field in ("{prompt}", "{response}"))
        if not once or order != sorted(order):
            raise ValueError("'template' must be 'chat', or hold {prompt} and then {response}, once each")
        return self


class OptimisationConfig(Config):
    """What every training of a language model sets."""

    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 1e-4
    batch_size: PositiveInt = 8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    schedule: Schedule = "constant"
    precision: Precision = "no"

    @model_validator(mode="after")
    def _warmup_counts(self) -> "OptimisationConfig":
        if self.schedule == "constant" and self.warmup_steps:
            raise ValueError("'warmup_steps' has no effect with schedule 'constant'; use 'constant_with_warmup'")
        return self


class FineTuneConfig(OptimisationConfig):
    """Teach the model the forget and retain records first: for demonstrations and benchmarks."""

    batch_size: PositiveInt = 16
    schedule: Schedule = "linear"


class MethodConfig(NamedConfig):
    """The unlearning method: its name, and its settings beside it."""

    registry = METHODS

    name: str = "ihl"

    @classmethod
    def check(cls, name: str, settings: Mapping[str, Any]) -> Any:
        """Return the method, whose fields are all its settings.

        The parts of a composite stay as they were given: by name, with what is not their default.
        """
        method = build_method(name, settings)
        return SimpleNamespace(**settings) if isinstance(method, Composite) else method


class LoraSettings(Config):
    """Train a low-rank adapter instead of all weights."""

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16
    target_modules: str | list[str] = "all-linear"
    init: Literal["default", "fila"] = "default"
    epsilon: Literal["relative", "official"] = "relative"
    fisher: Literal["element", "row"] = "element"


class TrainingConfig(OptimisationConfig):
    """The optimisation."""

    renamed: ClassVar[Mapping[str, str]] = {
        "accumulation": "accumulate",
        "save_every_epochs": "checkpoint_every, beside 'training'",
        "trackers": "trackers, beside 'training'",
    }

    accumulate: PositiveInt = 1
    retain_per_forget: PositiveInt = 1
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    optimizer: Annotated[str, AfterValidator(_known_optimizer)] = "adamw_torch"
    gradient_checkpointing: bool = False
    max_nll: PositiveFloat | None = None
    parameters: str | None = None
    reference_cache_gb: PositiveFloat = 8.0


class StopConfig(Config):
    """Stop as soon as the forget set is below the level of unseen text."""

    min_epochs: Annotated[int, Field(ge=0)] = 0
    every: PositiveInt = 1
    facts: bool = True


class SelectionConfig(Config):
    """Keep the best epoch's weights by records that are neither trained on nor audited."""

    retain_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    criterion: Criterion = "harmonic"
    every: PositiveInt = 1


class MembershipConfig(Config):
    """Membership inference of the forget records against the unseen ones."""

    scores: tuple[Score, ...] = SCORES
    k: Annotated[float, Field(gt=0, le=1)] = 0.4


class StressConfig(Config):
    """Stress tests of forgetting."""

    relearn_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    relearn_steps: Annotated[int, Field(ge=0)] = 10
    relearn_every: PositiveInt = 2
    relearn_learning_rate: PositiveFloat = 1e-4
    bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = (8, 4)
    rewording: bool = True


class TofuConfig(Config):
    """The measures of TOFU on rows with question, answer, paraphrased_answer and perturbed_answer."""

    forget: Source
    retain: Source
    real_authors: Source
    world_facts: Source
    mean: Literal["geometric", "arithmetic"] = "geometric"
    max_new_tokens: PositiveInt = 200


class MuseConfig(Config):
    """The measures of MUSE: rows with prompt and gt, with question and answer, or with text."""

    verbatim: Source | None = None
    knowledge_forget: Source | None = None
    knowledge_forget_shown: Source | None = None
    knowledge_retain: Source | None = None
    knowledge_retain_shown: Source | None = None
    privacy_forget: Source | None = None
    privacy_holdout: Source | None = None
    k: Annotated[float, Field(gt=0, le=1)] = 0.4

    @model_validator(mode="after")
    def _both_sides(self) -> "MuseConfig":
        if (self.privacy_forget is None) != (self.privacy_holdout is None):
            raise ValueError("privacy leakage compares 'privacy_forget' with 'privacy_holdout': give both or neither")
        return self


class HarnessConfig(Config):
    """Tasks of lm-eval; needs the extra ``harness``."""

    tasks: Annotated[list[str], Field(min_length=1)]
    include_path: LocalPath | None = None
    limit: PositiveInt | None = None
    shots: Annotated[int, Field(ge=0)] | None = None
    batch_size: PositiveInt = 8


class AuditConfig(Config):
    """Measures before and after, and the criteria of forgetting and of retention."""

    n: PositiveInt = 10
    further_n: tuple[PositiveInt, ...] = ()
    length_tolerance: UnitInterval = 0.25
    held_retain: Annotated[float, Field(ge=0, lt=1)] = 0.25
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.1
    kept_share: UnitInterval = 0.95
    perplexity_ratio_ceiling: PositiveFloat = 1.15
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    max_new_tokens: PositiveInt = 32
    batch_size: PositiveInt = 16
    membership: MembershipConfig | None = None
    stress: StressConfig | None = None
    tofu: TofuConfig | None = None
    muse: MuseConfig | None = None
    harness: HarnessConfig | None = None

    @property
    def sources(self) -> dict[str, Any]:
        """Every source of the suites, by its key."""
        return {
            f"audit.{suite}.{key}": getattr(settings, key)
            for suite, settings in (("tofu", self.tofu), ("muse", self.muse))
            if settings is not None
            for key in type(settings).model_fields
            if key not in ("mean", "max_new_tokens", "k")
        }


class LanguageUnlearningConfig(JobConfig):
    """One job: a model, the records to forget and retain, the method, and the audit.

    Attributes:
        checkpoint_every: Epochs between checkpoints.
        keep_fine_tuned: Whether the models that the job taught are kept.
    """

    model: ModelConfig
    data: DataConfig
    fine_tune: FineTuneConfig | None = None
    reference: Annotated[Literal["retrain"] | ModelName | None, Field(union_mode="left_to_right")] = None
    method: MethodConfig = Field(default_factory=lambda: MethodConfig(name="ihl"))
    lora: LoraSettings | None = None
    training: TrainingConfig = TrainingConfig()
    stop: StopConfig | None = None
    selection: SelectionConfig | None = None
    audit: AuditConfig = AuditConfig()
    checkpoint_every: PositiveInt = 1
    keep_fine_tuned: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> "LanguageUnlearningConfig":
        if self.reference == "retrain" and self.fine_tune is None:
            raise ValueError("'reference: retrain' needs 'fine_tune', which says how the model was trained")
        has_unseen = self.data.people is not None or self.data.unseen is not None
        if self.stop is not None and not has_unseen:
            raise ValueError("'stop' compares with unseen records, but 'data.unseen' is missing")
        watched = self.stop is not None or self.selection is not None
        method = build_method(self.method.name, self.method.settings)
        if method.negation is not None and (watched or (self.lora is not None and self.lora.init == "fila")):
            raise ValueError(
                f"method '{method.card.name}' negates the change of the weights once training has ended: it goes with "
                "neither 'stop' nor 'selection' nor 'lora.init: fila'"
            )
        if self.selection is not None and not has_unseen:
            raise ValueError("'selection' compares with unseen records, but 'data.unseen' is missing")
        if self.selection is not None and self.data.requests is not None:
            raise ValueError("'selection' keeps one epoch of one training; with 'data.requests' use 'stop'")
        for name, watched_every in (("selection", self.selection), ("stop", self.stop)):
            if watched_every is not None and watched_every.every > self.training.epochs:
                raise ValueError(f"'{name}.every' is more than 'training.epochs', so nothing would be measured")
        if self.training.parameters is not None and self.lora is not None:
            raise ValueError("'training.parameters' chooses among all weights; with 'lora' use 'lora.target_modules'")
        if self.audit.membership is not None and not has_unseen:
            raise ValueError("'audit.membership' compares with unseen records, but 'data.unseen' is missing")
        needs_retain = build_method(self.method.name, self.method.settings).reads("retain")
        if needs_retain and self.data.people is None and self.data.retain is None:
            raise ValueError(
                f"method '{self.method.name}' has a retain term, but 'data.retain' is missing; 'method.retain: null' "
                "leaves the term out"
            )
        return self
