"""The configurations of ``learn-language`` and ``unlearn-adapters``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from myosotis.data.people import MAX_PEOPLE
from myosotis.engine.config import Config, JobConfig, LocalPath
from myosotis.unlearning.language.job.config import BaseConfig, Source
from myosotis.unlearning.request import RequestConfig


class AdapterSettings(Config):
    """The adapters, one a subject.

    Attributes:
        rank: Rank of each change of a layer.
        alpha: Its factor, times the rank.
        first_layer: First block with an adapter; the middle one unless given.
        targets: Last parts of the names of the layers, e.g. ``[gate_proj, up_proj, down_proj]``; the linear layers of
            the MLP of each block unless given.
    """

    rank: PositiveInt = 8
    alpha: PositiveFloat = 16.0
    first_layer: Annotated[int, Field(ge=0)] | None = None
    targets: tuple[str, ...] | None = None


class AdapterTraining(Config):
    """How an adapter is trained. Nothing here may be fitted to the records, for that would be a trace of them.

    Attributes:
        steps: Optimisation steps of each adapter.
        batch_size: Records a step, at most.
        learning_rate: Rate at the first step; it falls to zero.
        precision: Precision of the forward pass: ``bf16``, or ``"no"`` for that of the weights.
    """

    steps: PositiveInt = 20
    batch_size: PositiveInt = 20
    learning_rate: PositiveFloat = 2e-3
    precision: Literal["no", "bf16"] = "bf16"


class RouterSettings(Config):
    """What sends a question to an adapter: ridge regression on random features of a frozen layer (RanPAC).

    Attributes:
        layer: Block whose input is averaged over the tokens of a question; the one after a seventh of them unless
            given.
        projection: Random features.
        ridge: Penalty of the regression.
        threshold: Smallest score at which an adapter answers, where 1 is the score that training aims at.
        names: Whether a subject that its own prompts name is answered for only where its whole name occurs: people who
            share a part of it are somebody else. By the score alone many of those pass.
    """

    layer: Annotated[int, Field(ge=0)] | None = None
    projection: PositiveInt = 2000
    ridge: PositiveFloat = 10.0
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    names: bool = True


class LearnedPeopleConfig(Config):
    """Fictitious people from a seeded generator instead of files; the job's seed draws them.

    Attributes:
        learn: Number of people to learn.
        unseen: Number of people who are never taught.
        skip: Number of people of the draw to leave out before those: for a job that learns further ones.
    """

    learn: PositiveInt = 20
    unseen: PositiveInt = 10
    skip: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _enough_names(self) -> "LearnedPeopleConfig":
        if self.learn + self.unseen + self.skip > MAX_PEOPLE:
            raise ValueError(f"at most {MAX_PEOPLE} people have different names")
        return self


class LearnedDataConfig(Config):
    """Sources of records, and how they are formatted.

    Attributes:
        people: Fictitious people instead of files.
        learn: Records to learn; each has a ``subject``.
        unseen: Records about subjects that are never learned: what the learner must not touch.
        general: General text, which must pass the router by.
        template: Template of a record with ``{prompt}`` and ``{response}``, or ``chat`` for the tokenizer's own chat
            template.
        max_length: Longest sequence in tokens; longer records are refused.
    """

    people: LearnedPeopleConfig | None = None
    learn: Source | None = None
    unseen: Source | None = None
    general: Source | None = None
    template: str = "Question: {prompt}\nAnswer: {response}"
    max_length: PositiveInt = 512

    @model_validator(mode="after")
    def _one_source(self) -> "LearnedDataConfig":
        if (self.people is None) == (self.learn is None):
            raise ValueError("give either 'people' or 'learn'")
        if self.people is not None and self.unseen is not None:
            raise ValueError("'people' brings unseen people too; leave 'unseen' out")
        return self


class LanguageLearningConfig(JobConfig):
    """One job: a frozen model, records by subject, and how each subject's adapter is trained.

    Attributes:
        model: Model that is never trained.
        data: Records by subject.
        adapter: Size and place of the adapters, the method ``subject-adapters``.
        training: How each is trained.
        router: What sends a question to an adapter.
        continue_from: Run of ``learn-language`` or ``unlearn-adapters`` whose learner goes on; model, template and
            settings must be its own.
        confidence: Level of the confidence intervals.
    """

    job: Literal["learn-language"] = "learn-language"
    model: BaseConfig
    data: LearnedDataConfig
    adapter: AdapterSettings = AdapterSettings()
    training: AdapterTraining = AdapterTraining()
    router: RouterSettings = RouterSettings()
    continue_from: LocalPath | None = None
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.95


class AdapterLearnerConfig(Config):
    """The learner that is to forget.

    Attributes:
        learner: Run of ``learn-language`` or ``unlearn-adapters``, or the ``model`` directory of one.
    """

    learner: LocalPath


class ForgottenDataConfig(Config):
    """What is to go, and what else may be read. Nothing is needed but names or records.

    Attributes:
        subjects: Text file with the names of subjects to forget, one a line, as the records had them. They stand in no
            configuration, because reports and ledgers have a part in that.
        forget: Records to forget. Of a subject whose records are all among them the adapter is dropped.
        remaining: The other records of subjects that keep some: their adapters are trained anew on these.
        relearn: Number of adapters that stay and are trained again from ``remaining``, drawn by the seed: an auditor's
            sample, for their digests must be equal.
        reviewed: That somebody has read the records that stay and hold the whole name of a dropped subject, and none is
            about it.
    """

    subjects: LocalPath | None = None
    forget: Source | None = None
    remaining: Source | None = None
    relearn: Annotated[int, Field(ge=0)] = 0
    reviewed: bool = False

    @model_validator(mode="after")
    def _names_something(self) -> "ForgottenDataConfig":
        if self.subjects is None and self.forget is None:
            raise ValueError("give 'subjects' or 'forget'")
        if self.relearn and self.remaining is None:
            raise ValueError("'relearn' trains adapters again from 'remaining', which is missing")
        return self


class AdapterForgettingConfig(JobConfig):
    """One job: a learner with an adapter a subject, and what it is to forget.

    Attributes:
        model: Learner that is to forget.
        data: Subjects or records to forget, and others.
        request: Description of the deletion request.
    """

    job: Literal["unlearn-adapters"] = "unlearn-adapters"
    model: AdapterLearnerConfig
    data: ForgottenDataConfig
    request: RequestConfig = RequestConfig()
