"""``result.json`` of ``learn-representations``."""

from typing import Literal

from myosotis.engine.result import Interval, Lineage, Result, ResultPart, StreamCost
from myosotis.evaluation.learning import LearningVerdict


class ProbeFigures(ResultPart):
    """Figures of the task matrix; null where a figure needs more than one task.

    With ``a[t, i]`` the accuracy on task i after task t, T the last task and ``a[0, i]`` before the first, ``learning``
    is the mean of ``a[i, i]``, ``forgetting`` the mean over i < T of ``max_t a[t, i] - a[T, i]``, ``stability`` that of
    ``a[T, i] - a[i, i]``, and ``forward_transfer`` the mean over i > 1 of ``a[i - 1, i] - a[0, i]``.
    """

    final: float
    """Accuracy on the test samples of all tasks, after the last."""
    learning: float | None
    """Accuracy on each task right after it was learnt; compared with fine-tuning it is plasticity."""
    forgetting: float | None = None
    """Of all but the last task: best accuracy of all, less the one at the end."""
    stability: float | None = None
    """Of all but the last task: accuracy at the end, less right after learning; below 0 where features got worse."""
    forward_transfer: float | None = None
    """Of all but the first task: accuracy right before it was learnt, less before the stream."""
    gain: float
    """Accuracy at the end, less the same before the stream."""


class Probes(ResultPart):
    """Figures by kind of probe."""

    linear: ProbeFigures
    """Linear probe."""
    knn: ProbeFigures
    """Nearest neighbours."""


class Measured(ResultPart):
    """Measurements of an encoder."""

    linear: list[float]
    """Accuracy on the test samples of each task, later ones included, of a single linear probe over all classes; in a
    domain-incremental stream of a probe for each domain."""
    knn: list[float]
    """The same by nearest neighbours."""
    linear_all: float
    """Accuracy of the linear probe on all test samples."""
    knn_all: float
    """The same by nearest neighbours."""
    transfer: dict[str, float]
    """Accuracy of a linear probe on each other data set, by name."""
    drift: float | None
    """1 - CKA to the encoder of the previous measurement; null for the first."""


class SslRecord(ResultPart):
    """Measurements after a task."""

    measured: Measured
    """Measurements of the encoder."""
    loss: dict[str, float]
    """Mean of each loss term over the last epoch."""
    seconds: float | None
    """Training seconds; null where an earlier session did a part of it."""
    steps: int
    """Optimisation steps."""
    images: int
    """Views that passed through the network in training, remembered ones included."""
    exemplars: int
    """Samples in the memory."""


class RepresentationSamples(ResultPart):
    """Numbers of samples."""

    train: list[int]
    """Training samples of each task."""
    test: list[int]
    """Test samples of each task."""
    repeated: int = 0
    """Test images that are training images too."""


class RepresentationCost(StreamCost):
    """What learning the representations cost."""

    exemplars: int
    """Samples in the memory at the end."""
    parameters_encoder: int
    """Parameters of the encoder."""
    parameters_training: int
    """Parameters of the network in training."""


class RepresentationLineage(Lineage):
    """What came in and went out."""

    encoder_out: str
    """The encoder of the network that went out."""


class RepresentationResult(Result):
    """Result of ``learn-representations``."""

    kind: Literal["learn-representations"]
    method: str
    """Name of the method."""
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
    before: Measured
    """The encoder before the stream."""
    history: list[Measured]
    """The encoder after each task."""
    few_labels: dict[str, float]
    """Final accuracy of linear probes that are fitted to a share of the labels, by that share."""
    losses: list[dict[str, float]]
    """Mean loss terms of the last epoch of each task."""
    lineage: RepresentationLineage
    cost: RepresentationCost
    """What it cost."""
