"""``result.json`` of ``myosotis learn representations``."""

from typing import Literal

from myosotis.engine.result import Interval, Result, ResultPart, StreamCost
from myosotis.evaluation.learning import LearningVerdict


class ProbeFigures(ResultPart):
    """Figures of the task matrix; null where a figure needs more than one task."""

    final: float
    """Accuracy on all test samples after the last task."""
    learning: float | None
    """Mean accuracy on each task right after it."""
    forgetting: float | None
    """Mean over all but the last task of the best accuracy less the final one."""
    stability: float | None
    """Mean over all but the last task of the final accuracy less that right after the task."""
    forward_transfer: float | None
    """Mean over all but the first task of the accuracy before the task less that before the stream."""
    gain: float
    """``final`` less the accuracy before the stream."""


class Probes(ResultPart):
    """Figures by kind of probe."""

    linear: ProbeFigures
    """Linear probe."""
    knn: ProbeFigures
    """Nearest neighbours."""


class MeasuredPart(ResultPart):
    """What the encoder is worth at a moment."""

    linear: list[float]
    """Accuracy of the linear probe on the test samples of each task."""
    knn: list[float]
    """The same by nearest neighbours."""
    linear_all: float
    """Linear probe on all test samples."""
    knn_all: float
    """Nearest neighbours on all test samples."""
    transfer: dict[str, float]
    """Linear probe on other data sets, by name."""
    drift: float | None
    """1 - CKA to the encoder of the moment before; null for the first."""


class RepresentationSamples(ResultPart):
    """Numbers of samples."""

    train: list[int]
    """Training samples of each task."""
    test: list[int]
    """Test samples of each task."""
    repeated: int
    """Test images that are training images too."""


class RepresentationCost(StreamCost):
    """What learning the representations cost."""

    exemplars: int
    """Samples in the memory at the end."""
    parameters_encoder: int
    """Parameters of the encoder."""
    parameters_training: int
    """Parameters of the network in training."""


class RepresentationResult(Result):
    """Result of ``learn representations``."""

    kind: Literal["learn-representations"]
    base: str
    """Name of the self-supervised loss."""
    scenario: str
    """Kind of the stream: ``class``, ``data`` or ``domain``."""
    classes: list[str]
    """Classes in the order of arrival; only probes read them."""
    tasks: list[list[str]]
    """Classes of each task."""
    samples: RepresentationSamples
    """Numbers of samples."""
    probe: str
    """Kind of the linear probe; figures of different kinds cannot be compared."""
    metrics: Probes
    """Figures of the task matrix."""
    final_interval: Interval
    """Exact interval of the final accuracy of the linear probe over test samples."""
    verdict: LearningVerdict | None = None
    """Whether the probe is better than on the untrained network and than chance, and kept since the tasks were
    learnt."""
    before: MeasuredPart
    """The encoder before the stream."""
    history: list[MeasuredPart]
    """The encoder after each task."""
    few_labels: dict[str, float]
    """Final accuracy of linear probes that are fitted to a share of the labels, by that share."""
    losses: list[dict[str, float]]
    """Mean loss terms of the last epoch of each task."""
    cost: RepresentationCost
    """What it cost."""
