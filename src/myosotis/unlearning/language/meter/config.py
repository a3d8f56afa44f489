"""The configuration of ``meter``."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from myosotis.data.people import MAX_PEOPLE
from myosotis.engine.config import Config, JobConfig
from myosotis.engine.loop import Precision
from myosotis.unlearning.language.job.config import BaseConfig


class MeterPeopleConfig(Config):
    """Fictitious people, by how often they are taught; the job's seed draws them.

    Attributes:
        doses: Times that the records of a person are taught, in rising order.
        each: People of each dose, and of each other kind.
        unseen: People who are never taught, whom the others are told from.
        otherwise: Times that people are taught in other words alone, or with wrong facts.
    """

    doses: tuple[PositiveInt, ...] = (1, 2, 5, 10, 30)
    each: Annotated[int, Field(ge=5)] = 10
    unseen: Annotated[int, Field(ge=5)] = 20
    otherwise: PositiveInt = 10

    @model_validator(mode="after")
    def _rising(self) -> "MeterPeopleConfig":
        if not self.doses or list(self.doses) != sorted(set(self.doses)):
            raise ValueError("'doses' must rise")
        if self.total > MAX_PEOPLE:
            raise ValueError(f"at most {MAX_PEOPLE} people have different names")
        return self

    @property
    def total(self) -> int:
        """People in all: a control, those taught otherwise in two ways, and others to draw on."""
        return self.unseen + self.each * (len(self.doses) + 4)


class MeterTrainingConfig(Config):
    """How the adapter is taught, which is thrown away at the end.

    Attributes:
        rank: Rank of the adapter, on all linear layers.
        learning_rate: Rate of AdamW at the first step; it falls to zero.
        batch_size: Records a step and process.
        precision: Mixed precision.
        further: Times that other people are taught afterwards, to see which figures outlast it; general text for as
            many steps.
    """

    rank: PositiveInt = 16
    learning_rate: PositiveFloat = 1e-3
    batch_size: PositiveInt = 20
    precision: Precision = "bf16"
    further: PositiveInt = 4


class MeterAuditConfig(Config):
    """How models are measured; as in the jobs whose verdicts are to be believed.

    Attributes:
        n: Length in tokens of the n-grams of extraction likelihood.
        max_new_tokens: Longest generated answer.
        samples: Answers at temperature 1 to each record, as far as they cost at most 10,000 tokens a kind of people.
        batch_size: Records per batch.
        precision: Precision that the model is measured in.
        confidence: Level of intervals and tests.
    """

    n: PositiveInt = 3
    max_new_tokens: PositiveInt = 32
    samples: PositiveInt = 8
    batch_size: PositiveInt = 16
    precision: Precision = "bf16"
    confidence: Annotated[float, Field(ge=0.9, lt=1)] = 0.95


class MeterConfig(JobConfig):
    """One job: a model, and how people are taught to it and asked for.

    Attributes:
        model: Model of the family whose audits are to be believed; its weights are not trained.
        people: People and how often they are taught.
        template: Template of a record with ``{prompt}`` and ``{response}``, or ``chat`` for the tokenizer's own.
        training: How they are taught.
        audit: How the model is measured.
    """

    job: Literal["meter"] = "meter"
    model: BaseConfig
    people: MeterPeopleConfig = MeterPeopleConfig()
    template: str = "Question: {prompt}\nAnswer: {response}"
    training: MeterTrainingConfig = MeterTrainingConfig()
    audit: MeterAuditConfig = MeterAuditConfig()
