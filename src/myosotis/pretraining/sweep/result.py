"""``result.json`` of ``pretrain-sweep``."""

from typing import Literal

from pydantic import Field

from myosotis.engine.result import FailedRuns, LeftOut, Result, ResultPart
from myosotis.evaluation.intervals import Interval


class OverRatios(ResultPart):
    """A measure at every ratio, over seeds; the mean and the range over ratios are taken for each seed first."""

    at: list[Interval]
    """At each ratio."""
    mean: Interval
    """Mean over ratios."""
    range: Interval
    """Largest less smallest: a small one says that the choice of the ratio does not matter."""


class Measured(OverRatios):
    """Measure of a masker."""

    values: list[list[float]]
    """By seed and ratio."""


class MaskerFigures(ResultPart):
    """Figures of a masker."""

    linear: Measured | None = None
    """Linear probe; null where it was not asked for, as the next two."""
    knn: Measured | None = None
    """Nearest neighbours."""
    finetuned: Measured | None = None
    """After fine-tuning."""
    seconds: float
    """Mean training seconds of a run."""
    failures: int
    """Failed runs."""
    failed_runs: list[FailedRuns]
    """The same by reason."""
    masks: dict[str, list[float | None]]
    """For each ratio, statistics of the masks of the last epoch; null where there are none."""


class MaskerDifferences(ResultPart):
    """Differences of a masker to the first one on the same seeds."""

    linear: OverRatios | None = None
    """Linear probe; null where it was not asked for, as the next two."""
    knn: OverRatios | None = None
    """Nearest neighbours."""
    finetuned: OverRatios | None = None
    """After fine-tuning."""


class SweepResult(Result):
    """Result of ``pretrain-sweep``."""

    kind: Literal["pretrain-sweep"]
    seeds: int
    """Seeds of each masker and ratio."""
    ratios: list[float]
    """Shares of hidden tokens."""
    objective: str
    """Name of the objective."""
    test_images: int = 0
    """Test images."""
    repeated: int = 0
    """Test images that are training images too."""
    measures: list[str]
    """Measures of the encoders: ``linear``, ``knn``, ``finetuned``."""
    maskers: dict[str, MaskerFigures]
    """Figures of each masker."""
    not_run: dict[str, LeftOut] = Field(default_factory=dict)
    """Maskers that are left out, since some of their runs did not fit the memory even alone."""
    differences: dict[str, MaskerDifferences]
    """Differences of each masker to the first one on the same seeds; none where that is left out."""
    untrained: dict[str, Interval]
    """Untrained encoders, by measure."""
    untrained_failures: list[FailedRuns]
    """Failures among these."""
    pixels: dict[str, Interval] | None
    """Probes on raw pixels."""
