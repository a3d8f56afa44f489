"""The configuration of ``unlearn-language``."""

import difflib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from myosotis.data.encoding import CHAT
from myosotis.data.people import MAX_PEOPLE
from myosotis.engine.config import Config, DatasetName, JobConfig, LocalPath, ModelName
from myosotis.engine.loop import Precision
from myosotis.engine.method import NamedConfig
from myosotis.models.four_bit import Quantization
from myosotis.unlearning.language.audit.settings import (
    SCORES,
    STOP_FIGURES,
    Criterion,
    Score,
    StopFigure,
    VerdictSettings,
)
from myosotis.unlearning.language.methods import METHODS, Method, build_method
from myosotis.unlearning.language.methods.composite import Composite
from myosotis.unlearning.request import RequestConfig

Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "inverse_sqrt"]
UnitInterval = Annotated[float, Field(ge=0, le=1)]


def _known_optimizer(name: str) -> str:
    from transformers.training_args import OptimizerNames  # seconds of imports, for a setting that few make

    known = [item.value for item in OptimizerNames]
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise ValueError(f"unknown optimizer; did you mean '{close[0]}'?" if close else "unknown optimizer")
    return name


class BaseConfig(Config):
    """A model whose weights are not trained.

    Attributes:
        name: Model: a directory, also of the adapter of a fine-tune, a ``.gguf`` file, a packaged model such as
            ``smollm2-135m``, or a name of the hub; a relative path begins with ``.``.
        dtype: Type of the weights in memory.
    """

    name: ModelName
    dtype: Literal["float32", "bfloat16"] = "float32"


class ModelConfig(Config):
    """The model that unlearns.

    Attributes:
        name: Model: a directory, also of the adapter of a fine-tune, a ``.gguf`` file, a packaged model such as
            ``smollm2-135m``, or a name of the hub; a relative path begins with ``.``.
        dtype: Type of the weights in memory; of a 4-bit model, of what its layers compute in.
        quantization: Packing of the linear layers into 4 bits, ``nf4``, under an adapter (QLoRA); none unless given.
            Needs the extra ``quantization``.
    """

    name: ModelName
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Quantization | None = None


class PeopleConfig(Config):
    """Fictitious people from a seeded generator instead of files; the job's seed draws them.

    Attributes:
        forget: Number of people to forget.
        retain: Number of people to keep.
        unseen: Number of people who are never taught.
    """

    forget: PositiveInt = 4
    retain: PositiveInt = 16
    unseen: PositiveInt = 8

    @model_validator(mode="after")
    def _enough_names(self) -> "PeopleConfig":
        if self.forget + self.retain + self.unseen > MAX_PEOPLE:
            raise ValueError(f"at most {MAX_PEOPLE} people have different names")
        return self


class TableConfig(Config):
    """What rows of a source are read, and how.

    Attributes:
        fields: Our keys (``prompt``, ``response``, ``text``, ``messages``, ``id``, ``subject``, ``facts``) and what the
            source calls them.
        skip: Rows to leave out at the beginning.
        take: Rows to read after those; all unless given.
        rows_per_subject: Consecutive rows that are about one subject, for sources without a ``subject``:
            intervals and held-out shares then go by subject.
    """

    fields: dict[str, str] = Field(default_factory=dict)
    skip: Annotated[int, Field(ge=0)] = 0
    take: PositiveInt | None = None
    rows_per_subject: PositiveInt | None = None


class FileConfig(TableConfig):
    """A file of JSON lines.

    Attributes:
        file: JSONL file: one JSON object per line.
    """

    file: LocalPath


class DatasetConfig(TableConfig):
    """A source for the ``datasets`` library.

    Attributes:
        dataset: Directory, or name on the hub.
        split: Split of the data set.
        subset: Configuration of the data set, where it has several.
    """

    dataset: DatasetName
    split: str = "train"
    subset: str | None = None


Source = LocalPath | FileConfig | DatasetConfig


class DataConfig(Config):
    """Sources of records and how they are formatted.

    Attributes:
        people: Fictitious people instead of files.
        forget: Records to forget.
        retain: Records to keep; a part is held out of training for the verdict.
        unseen: Records that the model was never trained on: the level at which something counts as forgotten.
        general: General text, for perplexity; ``packaged``: sixteen English texts that the package brings.
        template: Template of a record with ``{prompt}`` and ``{response}``, or ``chat`` for the tokenizer's own chat
            template.
        max_length: Longest sequence in tokens; longer records are refused.
        append_eos: Whether an end-of-sequence token follows each response.
        split_texts: Whether texts longer than ``max_length`` are cut between words.
        forget_tokens: Tokens of the forget set that carry the loss: the whole response, or its facts alone.
        requests: Split of the forget set into requests that come one after another: their number, or one per
            ``subject``.
        replay: Whether earlier requests are unlearned again with each later one.
        allow_shared: Whether records may occur in two sets; the report then says which.
        refusals: Refusal answers for the methods that train on one; the packaged list unless given.
    """

    people: PeopleConfig | None = None
    forget: Source | None = None
    retain: Source | None = None
    unseen: Source | None = None
    general: Literal["packaged"] | Source | None = None
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
            raise ValueError("'replay' repeats earlier 'requests', which are missing")
        if self.template == CHAT:
            return self
        order = [self.template.find(field) for field in ("{prompt}", "{response}")]
        once = all(self.template.count(field) == 1 for field in ("{prompt}", "{response}"))
        if not once or order != sorted(order):
            raise ValueError("'template' must be 'chat', or hold {prompt} and then {response}, once each")
        return self


class OptimisationConfig(Config):
    """What every training of a language model sets.

    Attributes:
        epochs: Largest number of epochs.
        learning_rate: Learning rate of AdamW.
        batch_size: Records per step and process.
        weight_decay: Weight decay.
        warmup_steps: Steps of linear warm-up.
        schedule: Learning-rate schedule after the warm-up.
        precision: Mixed precision; ``no`` computes in the type of the weights.
    """

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


class TeacherConfig(OptimisationConfig):
    """The model that ``method.teacher: proxy`` or ``base`` learns from: it never saw the records to forget.

    Attributes:
        base: Model that the one to unlearn was fine-tuned from; with ``fine_tune`` that is known.
        rank: Rank of the adapter in which a proxy learns the form of the records.
        records: Largest number of retain records that it learns, drawn by the seed.
    """

    base: ModelName | None = None
    rank: PositiveInt = 16
    records: PositiveInt = 200
    epochs: PositiveInt = 5
    learning_rate: PositiveFloat = 1e-3
    schedule: Schedule = "linear"


class LoraSettings(Config):
    """Train a low-rank adapter instead of all weights.

    Attributes:
        rank: Rank of the adapter.
        alpha: Scale of the adapter: its update is multiplied by ``alpha / rank``.
        target_modules: Modules that get an adapter: ``all-linear``, a regular expression, or a list of names.
        init: Initialisation: ``default`` starts at zero update, ``fila`` from the forget-to-retain ratio of Fisher
            information (LoKU).
        epsilon: Floor of FILA's ratio: ``relative`` to the mean Fisher information, or the constant of the ``official``
            code.
        fisher: Fisher information per weight (``element``) or per row (``row``), which is faster and coarser.
        merge_dequantized: Whether ``model/`` of a job with ``model.quantization`` holds the dequantised weights with
            the adapter added, instead of the packed weights with the adapter beside them.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16
    target_modules: str | list[str] = "all-linear"
    init: Literal["default", "fila"] = "default"
    epsilon: Literal["relative", "official"] = "relative"
    fisher: Literal["element", "row"] = "element"
    merge_dequantized: bool = False


class TrainingConfig(OptimisationConfig):
    """The optimisation.

    Attributes:
        accumulate: Batches per optimiser step.
        retain_per_forget: Retain batches per forget batch.
        replay_prompts: Questions about strangers in the wording of the forget set; the model's own answers to them are
            retained too, one for each forget record. 0 for none.
        max_grad_norm: Norm that gradients are clipped to; 0 does not clip.
        optimizer: Optimiser, by its name in transformers.
        gradient_checkpointing: Whether activations are recomputed in the backward pass: less memory, more time.
        max_nll: Mean negative log-likelihood in nats at which training counts as diverged; twice the logarithm of the
            vocabulary size unless given.
        parameters: Regular expression of the names of the weights to train; all unless given.
        reference_cache_gb: Limit of the old model's outputs that a method keeps, in GB.
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "accumulation": "accumulate",
        "save_every_epochs": "checkpoint_every, beside 'training'",
        "trackers": "trackers, beside 'training'",
    }

    accumulate: PositiveInt = 1
    retain_per_forget: PositiveInt = 1
    replay_prompts: Annotated[int, Field(ge=0, le=10_000)] = 0
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    optimizer: Annotated[str, AfterValidator(_known_optimizer)] = "adamw_torch"
    gradient_checkpointing: bool = False
    max_nll: PositiveFloat | None = None
    parameters: str | None = None
    reference_cache_gb: PositiveFloat = 8.0


class StopConfig(Config):
    """Stop as soon as the forget set would be called forgotten, by what training may read: unseen records.

    Attributes:
        min_epochs: Epochs before the first check.
        every: Epochs between checks.
        figures: Figures that must be met; all that need no generated answers unless given.
        margin: Share of what had been learnt that may be left; that of the audit unless given.
    """

    min_epochs: Annotated[int, Field(ge=0)] = 0
    every: PositiveInt = 1
    figures: Annotated[tuple[StopFigure, ...], Field(min_length=1)] = STOP_FIGURES
    margin: Annotated[float, Field(gt=0, le=0.5)] | None = None


class SelectionConfig(Config):
    """Keep the best epoch's weights by records that are neither trained on nor audited.

    Attributes:
        retain_share: Share of the retain records that only the selection reads.
        criterion: Score of an epoch: ``harmonic`` mean of forgetting and retention, or the best-retained of those that
            are ``forgotten_first``.
        every: Epochs between measurements.
    """

    retain_share: Annotated[float, Field(gt=0, lt=1)] = 0.25
    criterion: Criterion = "harmonic"
    every: PositiveInt = 1


class MembershipConfig(Config):
    """Membership inference of the forget records against the unseen ones.

    Attributes:
        scores: Scores of the attacks.
        k: Share of the least likely tokens that Min-K% reads.
    """

    scores: tuple[Score, ...] = SCORES
    k: Annotated[float, Field(gt=0, le=1)] = 0.4


class StressConfig(Config):
    """Stress tests of forgetting.

    Attributes:
        relearn_share: Share of the forget set that relearning trains on; the rest is measured.
        relearn_steps: Steps of relearning; 0 leaves it out.
        relearn_every: Steps between measurements.
        relearn_learning_rate: Learning rate of relearning.
        bits: Numbers of bits that the weights are rounded to.
        rewording: Whether prompts are put in other words.
    """

    relearn_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    relearn_steps: Annotated[int, Field(ge=0)] = 10
    relearn_every: PositiveInt = 2
    relearn_learning_rate: PositiveFloat = 1e-4
    bits: tuple[Annotated[int, Field(ge=2, le=16)], ...] = (8, 4)
    rewording: bool = True


class TofuConfig(Config):
    """The measures of TOFU on rows with question, answer, paraphrased_answer and perturbed_answer.

    Attributes:
        forget: Rows of the forget set.
        retain: Rows of the retain set.
        real_authors: Rows of ``real_authors``.
        world_facts: Rows of ``world_facts``.
        mean: Mean over the perturbed answers in the truth ratio: ``geometric`` as the text of the paper, ``arithmetic``
            as some released code.
        max_new_tokens: Longest generated answer.
    """

    forget: Source
    retain: Source
    real_authors: Source
    world_facts: Source
    mean: Literal["geometric", "arithmetic"] = "geometric"
    max_new_tokens: PositiveInt = 200


class MuseConfig(Config):
    """The measures of MUSE: rows with prompt and gt, with question and answer, or with text.

    Attributes:
        verbatim: Rows to continue verbatim.
        knowledge_forget: Questions about the forget set.
        knowledge_forget_shown: Examples shown before them.
        knowledge_retain: Questions about the retain set.
        knowledge_retain_shown: Examples shown before them.
        privacy_forget: Texts of the forget set, for membership inference.
        privacy_holdout: Texts that were never trained on.
        k: Share of the least likely tokens that Min-K% reads.
    """

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
    """Tasks of lm-eval; needs the extra ``harness``.

    Attributes:
        tasks: Tasks of lm-eval.
        include_path: Folder with further task files.
        limit: Samples per task; all unless given.
        shots: Shown examples; the task's own number unless given.
        batch_size: Samples per batch.
    """

    tasks: Annotated[list[str], Field(min_length=1)]
    include_path: LocalPath | None = None
    limit: PositiveInt | None = None
    shots: Annotated[int, Field(ge=0)] | None = None
    batch_size: PositiveInt = 8


class AuditConfig(Config):
    """Measures before and after, and the criteria of forgetting and of retention.

    Attributes:
        n: Length in tokens of the n-grams of extraction likelihood.
        further_n: Further lengths to report.
        prefixes: Prefixes of each record that extraction likelihood is measured from: ``all``, which is exact; at most
            a number, as a sample; or ``auto``, all where a set cannot cost more than 8,000 generated tokens, else as
            many as that allows for.
        length_tolerance: Relative difference of lengths up to which forget and unseen answers can be compared.
        held_retain: Share of the retain records that training does not read; the verdict ``kept`` rests on them.
        retain_sample: Largest number of subjects of the retain records trained on, and of those held out, that are
            measured, drawn by the seed; all unless given. Records to forget and unseen ones are all measured.
        margin: Share of what had been learnt that may be left in forgotten records, or be missing; each figure's is a
            share of what it was above its level before unlearning.
        kept_share: Smallest share of what was known of held-out records that must remain.
        max_hurt_share: Largest share of held-out subjects that may have lost more than a tenth of what was known of
            them; by an exact bound, which 20 subjects of whom none lost anything just meet at 0.15.
        perplexity_ratio_ceiling: Largest ratio of the perplexity of general text, after to before.
        confidence: Level of the confidence intervals.
        max_new_tokens: Longest generated answer, for ROUGE.
        samples: Answers at temperature 1 to each record of the forget and the unseen set; 0 leaves sampling out. Where
            all records would cost more than 10,000 tokens a set, some are sampled.
        batch_size: Records per batch.
        precision: Precision that models are measured in: ``bf16`` or ``fp16`` for speed; ``no`` is that of the weights.
            Stress tests and lm-eval keep to the weights.
        baseline: Finished run of the same model, reference, records and measurements, whose audits of both models are
            taken over instead of made again: for several methods on one model.
        earlier: Earlier runs whose requests are measured again, where their records are still where they were; the run
            that the model comes from is always one of them.
        meter: Finished run of ``meter`` on a model of the same class and size, by which the report says how far each
            criterion is to be believed; that of the package unless given.
        membership: Membership inference; none unless given.
        stress: Stress tests; none unless given.
        tofu: Measures of TOFU; none unless given.
        muse: Measures of MUSE; none unless given.
        harness: Tasks of lm-eval; none unless given.
    """

    n: PositiveInt = 10
    further_n: tuple[PositiveInt, ...] = ()
    prefixes: Literal["auto", "all"] | PositiveInt = "auto"
    length_tolerance: UnitInterval = 0.25
    held_retain: Annotated[float, Field(ge=0, lt=1)] = 0.25
    retain_sample: PositiveInt | None = None
    margin: Annotated[float, Field(gt=0, le=0.5)] = 0.2
    kept_share: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    max_hurt_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    perplexity_ratio_ceiling: Annotated[float, Field(gt=1)] = 1.15
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.95
    max_new_tokens: PositiveInt = 32
    samples: Annotated[int, Field(ge=0)] = 8
    batch_size: PositiveInt = 16
    precision: Precision = "no"
    baseline: LocalPath | None = None
    earlier: tuple[LocalPath, ...] = ()
    meter: LocalPath | None = None
    membership: MembershipConfig | None = None
    stress: StressConfig | None = None
    tofu: TofuConfig | None = None
    muse: MuseConfig | None = None
    harness: HarnessConfig | None = None

    @property
    def verdict(self) -> VerdictSettings:
        """What counts as forgotten and as kept."""
        return VerdictSettings(
            self.confidence, self.margin, self.kept_share, self.max_hurt_share, self.perplexity_ratio_ceiling
        )

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
        model: Model that unlearns.
        data: Records, and how they are formatted.
        fine_tune: Teaching before the unlearning, for demonstrations and benchmarks; none unless given.
        reference: Model that never saw the forget set: a path or name, or ``retrain`` to teach one. ``names``: the same
            records under invented names, asked of the model itself; for a single person, or without such a model.
        method: Unlearning method.
        teacher: Teacher of ``method: counterfactual`` that is another model.
        lora: Low-rank adapter; without it all weights are trained.
        training: Training of the method.
        stop: Early stop at the level of unseen records; without it all epochs are run.
        selection: Selection of the best epoch; without it the last one is the result.
        audit: Measurements, and thresholds of the verdict.
        request: Description of the deletion request.
        checkpoint_every: Epochs between checkpoints.
        keep_fine_tuned: Whether the models that the job taught are kept.
    """

    job: Literal["unlearn-language"] = "unlearn-language"
    model: ModelConfig
    data: DataConfig
    fine_tune: FineTuneConfig | None = None
    reference: Annotated[Literal["retrain", "names"] | ModelName | None, Field(union_mode="left_to_right")] = None
    method: MethodConfig = Field(default_factory=lambda: MethodConfig(name="ihl"))
    teacher: TeacherConfig | None = None
    lora: LoraSettings | None = None
    training: TrainingConfig = TrainingConfig()
    stop: StopConfig | None = None
    selection: SelectionConfig | None = None
    audit: AuditConfig = AuditConfig()
    request: RequestConfig = RequestConfig()
    checkpoint_every: PositiveInt = 1
    keep_fine_tuned: bool = False

    @property
    def reference_model(self) -> str | None:
        """Path or name of the reference; None where there is none that is read."""
        return None if self.reference in (None, "retrain", "names") else str(self.reference)

    @model_validator(mode="after")
    def _fits_together(self) -> "LanguageUnlearningConfig":
        if self.reference == "retrain" and self.fine_tune is None:
            raise ValueError("'reference: retrain' needs 'fine_tune', which says how the model was trained")
        if self.audit.baseline is not None and self.fine_tune is not None:
            raise ValueError("'audit.baseline' is of a model as it is, but 'fine_tune' teaches this one first")
        has_unseen = self.data.people is not None or self.data.unseen is not None
        if self.stop is not None and not has_unseen:
            raise ValueError("'stop' compares with unseen records, but 'data.unseen' is missing")
        watched = self.stop is not None or self.selection is not None
        method = build_method(self.method.name, self.method.settings)
        if method.negation is not None and (watched or (self.lora is not None and self.lora.init == "fila")):
            raise ValueError(
                f"method '{method.card.name}' negates the change of the weights once training has ended: it cannot be "
                "combined with 'stop', 'selection' or 'lora.init: fila'"
            )
        if self.selection is not None and not has_unseen:
            raise ValueError("'selection' compares with unseen records, but 'data.unseen' is missing")
        if self.selection is not None and self.data.requests is not None:
            raise ValueError("'selection' keeps one epoch of one training; with 'data.requests' use 'stop'")
        for name, watched_every in (("selection", self.selection), ("stop", self.stop)):
            if watched_every is not None and watched_every.every > self.training.epochs:
                raise ValueError(f"'{name}.every' is more than 'training.epochs', so nothing would be measured")
        self._check_quantized()
        self._check_teacher(method)
        if self.training.parameters is not None and self.lora is not None:
            raise ValueError("'training.parameters' chooses among all weights; with 'lora' use 'lora.target_modules'")
        if self.audit.membership is not None and not has_unseen:
            raise ValueError("'audit.membership' compares with unseen records, but 'data.unseen' is missing")
        needs_retain = build_method(self.method.name, self.method.settings).reads("retain")
        if self.training.replay_prompts and not needs_retain:
            raise ValueError(f"'training.replay_prompts' needs a retain term, and method '{self.method.name}' has none")
        if needs_retain and not (self.data.people or self.data.retain or self.training.replay_prompts):
            raise ValueError(
                f"method '{self.method.name}' has a retain term, but 'data.retain' is missing; 'method.retain: null' "
                "leaves the term out"
            )
        return self

    @property
    def teacher_base(self) -> str | None:
        """The model that a teacher starts from; None where it is not known."""
        if self.teacher is not None and self.teacher.base is not None:
            return self.teacher.base
        return None if self.fine_tune is None else self.model.name

    def _check_teacher(self, method: Method) -> None:
        """Refuse a teacher that cannot be made, or that nobody asks."""
        kind = method.teacher_model
        if kind is None and self.teacher is not None:
            raise ValueError("'teacher' has no effect: it is for 'method.teacher: proxy' or 'base'")
        if kind == "base" and self.teacher not in (None, TeacherConfig(base=self.teacher_base)):
            raise ValueError("'method.teacher: base' is not trained: of 'teacher' only 'base' has an effect")
        if kind is not None and self.teacher_base is None:
            raise ValueError(
                f"'method.teacher: {kind}' needs 'teacher.base', the model that this one was fine-tuned from; "
                "'method.teacher: names' does without, where each question names its subject"
            )
        if kind == "proxy" and self.data.people is None and self.data.retain is None:
            raise ValueError(
                "'method.teacher: proxy' learns the form of the records on some of 'data.retain', which is missing; "
                "'method.teacher: base' does without"
            )

    def _check_quantized(self) -> None:
        """Refuse what a 4-bit base cannot do, before the model is loaded."""
        if self.model.quantization is None:
            if self.lora is not None and self.lora.merge_dequantized:
                raise ValueError("'lora.merge_dequantized' merges into a 4-bit base; it needs 'model.quantization'")
            return
        if self.lora is None:
            raise ValueError("'model.quantization' trains an adapter on a 4-bit base, but 'lora' is missing")
        if self.fine_tune is not None:
            raise ValueError(
                "'fine_tune' trains all weights, which 'model.quantization' packs; teach in a job of its own"
            )
        if self.data.requests is not None:
            raise ValueError("'data.requests' merges an adapter after each request, which a 4-bit base cannot take")
        stress = self.audit.stress
        if stress is not None and (stress.bits or stress.relearn_steps):
            raise ValueError(
                "'audit.stress' rounds and trains whole weights, which 'model.quantization' packs: set its 'bits' to "
                "[] and its 'relearn_steps' to 0"
            )
