"""``result.json`` of ``protocol``."""

from typing import Any, Literal

from pydantic import Field

from myosotis.engine.result import FailedRuns, LeftOut, OpenPart, Result, ResultPart


class Stream(ResultPart):
    """A stream of the protocol."""

    classes: list[str]
    """Its classes."""
    train: int
    """Training images."""
    test: int
    """Test images."""
    repeated: int
    """Test images that are training images too."""


class Selection(ResultPart):
    """The frozen choice for one method."""

    method: str
    """Name of the method."""
    selector: str
    """Criterion of the choice: ``stream``, by the whole tuning stream, or ``first_task``."""
    trial: int
    """Number of the trial."""
    drawn: dict[str, Any]
    """Settings of the trial."""
    score: float
    """Mean score over seeds on the tuning stream."""


class Scores(ResultPart):
    """Scores of one trial over seeds."""

    values: list[float]
    """Score by seed; 0 where the run failed."""
    mean: float
    """Their mean."""
    low: float | None
    """Lower end of its interval; null for a single seed."""
    high: float | None
    """Upper end."""
    count: int
    """Number of scores."""
    units: int
    """Number of seeds."""
    failures: int
    """Number of failed runs."""


class Conventional(Scores):
    """The trial that is best on the evaluation stream itself."""

    trial: int
    """Number of the trial."""
    optimism: float
    """Mean score less that of the chosen trial on the same seeds."""
    tau_of_trials: float | None
    """Kendall's tau between the trials' scores on both streams; null where it is not defined."""


class FirstTask(ResultPart):
    """The choice by the first task alone."""

    selected: Selection
    """The choice."""
    evaluated: Scores
    """Its scores on the evaluation stream."""


class Effect(ResultPart):
    """How much a setting matters."""

    means: dict[str, float]
    """Mean score of the trials with each value."""
    spread: float
    """Largest of these less the smallest."""
    fewest: int
    """Smallest number of trials of a value."""


class TotalCost(ResultPart):
    """Cost of several runs."""

    seconds: float
    """Seconds of all runs."""
    steps: int
    """Optimisation steps."""
    images: int
    """Images that passed through networks."""
    runs: int
    """Runs."""


class RunCost(OpenPart):
    """Cost of one run."""

    seconds: float
    """Seconds."""
    parameters_training: int = 0
    """Most parameters in training."""
    parameters_inference: int = 0
    """Parameters that it takes to answer."""
    exemplar_bytes: int = 0
    """Bytes of the exemplars at the end."""


class MethodFigures(ResultPart):
    """Figures of one method."""

    draws: list[dict[str, Any]]
    """Settings of every trial."""
    tuning_scores: list[float]
    """Mean score of every trial on the tuning stream."""
    finished_trials: list[int]
    """Trials that were not pruned."""
    failures: int
    """Failed runs of tuning."""
    failed_runs: list[FailedRuns]
    """Failed runs by phase and reason."""
    runs: int
    """Runs of all phases."""
    selected: Selection
    """The choice by the whole tuning stream."""
    tuned: Scores
    """Scores of the chosen trial on the tuning stream."""
    evaluated: Scores
    """Scores of the chosen trial on the evaluation stream."""
    evaluated_final: Scores
    """Final accuracy there."""
    evaluation_cost: RunCost
    """Cost of the first run of the evaluation."""
    first_task: FirstTask
    """The choice by the first task alone."""
    tuning_cost: TotalCost
    """Cost of tuning."""
    sensitivity: dict[str, Effect]
    """By setting, how much its value matters."""
    conventional: Conventional | None = None
    """What choosing on the evaluation stream itself would have shown; null where it was not asked for."""


class Agreement(ResultPart):
    """Rank correlation of the methods in the two phases."""

    tau: float | None
    """Kendall's tau-b; null where it is not defined."""
    low: float | None
    """Lower end of its bootstrap interval over seeds."""
    high: float | None
    """Upper end."""


class ProtocolResult(Result):
    """Result of ``protocol``."""

    kind: Literal["protocol"]
    metric: str
    """Figure that trials are chosen by."""
    trials: int
    """Trials of each method."""
    seeds: int
    """Seeds of each trial."""
    evaluation_seeds: int
    """Seeds of the evaluation."""
    pruned: bool
    """Whether hopeless trials were stopped."""
    streams: dict[Literal["tuning", "evaluation"], Stream]
    """The two streams."""
    methods: dict[str, MethodFigures]
    """By method: the chosen trial, its figures on both streams, the conventional choice, failures and cost."""
    not_run: dict[str, LeftOut] = Field(default_factory=dict)
    """Methods that are left out, since some of their runs did not fit the memory even alone."""
    ranks: dict[str, dict[str, int]]
    """Rank of each method by phase."""
    agreement: Agreement
    """Rank correlation of the phases, with its interval."""
