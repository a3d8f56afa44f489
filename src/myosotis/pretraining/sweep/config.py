"""The configuration of ``pretrain-sweep``."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from myosotis.engine.executors import ExecutorConfig
from myosotis.engine.method import Fraction
from myosotis.pretraining.config import MaskerConfig, PretrainConfig


class SweepConfig(PretrainConfig):
    """A job of ``pretrain`` at several ratios and seeds.

    ``ratios`` replace ``ratio`` and ``maskers`` replace ``masker``; all are compared with the first one.

    Attributes:
        ratios: Masking ratios.
        seeds: Number of seeds of each masker and ratio, counted from ``seed``.
        maskers: Maskers by their names in the report; ``masker`` alone unless given.
        executor: Processes that carry out the runs.
    """

    without_effect: ClassVar[frozenset[str]] = PretrainConfig.without_effect | frozenset(
        {"executor", "shown", "checkpoint_every", "ratio"}
    )

    job: Literal["pretrain-sweep"] = "pretrain-sweep"  # type: ignore[assignment]
    ratios: Annotated[tuple[Fraction, ...], Field(min_length=1)] = (0.5, 0.6, 0.75, 0.9)
    seeds: PositiveInt = 3
    maskers: dict[str, MaskerConfig] = Field(default_factory=dict)
    executor: ExecutorConfig = ExecutorConfig()

    @model_validator(mode="after")
    def _one_choice(self) -> "SweepConfig":
        if self.maskers and "masker" in self.model_fields_set:
            raise ValueError("'maskers' replace 'masker': leave one of them out")
        if self.ratio_end is not None:
            raise ValueError("the ratios of a sweep are constant: leave 'ratio_end' out")
        if not self.maskers:
            # Written out: a configuration names every setting.
            object.__setattr__(self, "maskers", {self.masker.name: self.masker})
        return self

    @field_validator("ratios")
    @classmethod
    def _ascending(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(ratios)) < len(ratios):
            raise ValueError("contains duplicates")
        return tuple(sorted(ratios))
