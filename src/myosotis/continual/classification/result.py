"""``result.json`` of ``learn-classes``."""

from typing import Literal

from pydantic import Field

from myosotis.engine.result import Interval, Lineage, Result, ResultPart, StreamCost
from myosotis.evaluation.learning import LearningVerdict


class FinalAccuracy(Interval):
    """Accuracy on all classes at the end."""

    mean: float
    """Share of right predictions."""


class Errors(ResultPart):
    """Shares of all test samples at the end (Ahn et al., ICCV 2021); new are classes of the last task."""

    old_as_old: float
    """Samples of old classes that were taken for another old class."""
    old_as_new: float
    """Samples of old classes that were taken for a new one."""
    new_as_old: float
    """Samples of new classes that were taken for an old one."""
    new_as_new: float
    """Samples of new classes that were taken for another new one."""


class ClassMetrics(ResultPart):
    """Figures of the accuracy matrix by the names of ``myosotis.continual.metrics``; null where they need two tasks,
    or held-out samples."""

    average_incremental_accuracy: float
    """Mean over tasks of the accuracy on all classes so far, by test samples."""
    average_incremental_accuracy_task_mean: float
    """The same with equal weights of tasks."""
    final_accuracy: float
    """Accuracy on all classes after the last task, by test samples."""
    final_accuracy_task_mean: float
    """The same with equal weights of tasks."""
    final_task_aware_accuracy: float
    """Accuracy after the last task if the task of each sample is known."""
    learning_accuracy: float
    """Mean accuracy on each task right after it was learnt."""
    forgetting: float | None = None
    """Best accuracy before the last task, less the final one, mean over earlier tasks; may be negative."""
    forgetting_best: float | None = None
    """Best accuracy of all, less the final one; never negative."""
    forgetting_after_learning: float | None = None
    """Accuracy right after learning, less the final one; minus backward transfer."""
    backward_transfer: float | None = None
    """Final accuracy, less that right after learning."""
    worst_case_accuracy: float | None = None
    """Mean of the lowest accuracy that each earlier task had later."""
    validation_average_incremental_accuracy: float | None = None
    """Average incremental accuracy on held-out training samples, with equal weights of tasks."""
    accuracy_curve: list[float]
    """Accuracy on all classes so far, after each task."""
    final_accuracy_interval: FinalAccuracy
    """Final accuracy with its exact interval over test samples."""
    errors: Errors
    """The four kinds of error at the end."""


class ClassSamples(ResultPart):
    """Numbers of samples."""

    train: list[int]
    """Training samples of each task."""
    validation: list[int]
    """Held-out training samples of each task."""
    test: list[int]
    """Test samples of each task."""
    skipped: dict[str, int]
    """Unreadable images by set."""
    repeated: int = 0
    """Test images that are training images too."""
    forgotten: int = 0
    """Training images that were left out because they had been forgotten."""


class TaskRecord(ResultPart):
    """Measurements after a task."""

    accuracy: list[float]
    """Accuracy on the test set of each task so far, among all classes so far."""
    task_aware: list[float]
    """The same among the classes of the sample's own task."""
    validation: list[float]
    """``accuracy`` on held-out training samples; empty where there are none."""
    seconds: float | None
    """Training seconds; null where an earlier session did a part of it."""
    after_seconds: float
    """Seconds to fill the memory and to finish the task."""
    steps: int
    """Optimisation steps."""
    images: int
    """Images that passed through the network in training."""
    parameters: dict[str, int]
    """Parameters of the network in ``training`` and in ``inference``."""
    exemplars: int
    """Samples in the memory."""
    watched: float | None = None
    """Accuracy on watched images that were forgotten, among all classes so far."""
    watched_membership: dict[str, float | None] | None = None
    """AUC, with its interval, of telling them from test images of their classes by how far the score of the true class
    is above the others."""


class Request(ResultPart):
    """A request that was answered between two tasks."""

    after: int
    """Tasks that had been learnt before it."""
    name: str
    """Name of the run that forgot."""
    images: int
    """Forgotten images."""
    forgotten_before: float | None
    """Accuracy on them before."""
    forgotten_after: float | None
    """Accuracy on them after."""
    test_after: float | None
    """Accuracy on test images after; null where none were given."""


class ClassCost(StreamCost):
    """What learning the classes cost."""

    after_task_seconds: list[float]
    """Seconds after the training of each task."""
    parameters_training: int
    """Most parameters in training."""
    parameters_inference: int
    """Parameters that it takes to answer."""
    exemplars: int
    """Samples in the memory at the end."""
    exemplar_bytes: int
    """Bytes that these take."""


class Continued(ResultPart):
    """The run that a stream goes on from."""

    name: str
    """Its name."""
    model: str
    """SHA-256 of its model."""
    tasks: int
    """Tasks that it had learnt."""


class WeightsIn(ResultPart):
    """Pre-trained weights; ``weights.json`` of the run has the whole mapping."""

    matched_by: str
    """How tensors were matched."""
    tensors: int
    """Tensors that were."""
    unused: list[str]
    """Tensors of the file that were not."""


class Pixels(ResultPart):
    """What is done to an image before the network."""

    size: int | None
    """Pixels of a side that it is scaled to; null where it is not."""
    mean: list[float]
    """Mean that is subtracted, by channel."""
    std: list[float]
    """Deviation that is divided by, by channel."""


class ClassLineage(Lineage):
    """What came in and went out."""

    encoder_in: str | None
    """The frozen encoder of the first task; null without one."""
    weights_in: WeightsIn | None = None
    """Pre-trained weights; null without any."""
    pixels: Pixels | None = None
    """Scale of the images; null in results of earlier versions."""
    continued_from: Continued | None = None
    """The run that it goes on from; null at the beginning of a stream."""
    classifier_out: str | None
    """The model as a plain classifier; null where it is none."""


class ClassResult(Result):
    """Result of ``learn-classes``."""

    kind: Literal["learn-classes"]
    method: str
    """Name of the method."""
    norm: str
    """Normalisation of the network."""
    classes: list[str]
    """Classes in the order of arrival."""
    tasks: list[list[str]]
    """Classes of each task."""
    samples: ClassSamples
    """Numbers of samples."""
    metrics: ClassMetrics
    """Figures of the accuracy matrix."""
    matrix: list[list[float]]
    """Row k: accuracy on each task so far after task k, among all classes so far."""
    task_aware_matrix: list[list[float]]
    """The same among the classes of the sample's own task."""
    validation_matrix: list[list[float]]
    """``matrix`` on held-out training samples; empty rows where there are none."""
    confusion: list[list[int]]
    """Test samples of each class (rows) predicted as each class (columns) at the end."""
    verdict: LearningVerdict | None = None
    """Whether the classes were learnt, against the most frequent class, and kept, against the time of learning."""
    tasks_in_detail: list[TaskRecord]
    """Measurements after each task."""
    requests: list[Request] = Field(default_factory=list)
    """Requests that were answered between tasks, where the run went on from one."""
    lineage: ClassLineage
    cost: ClassCost
    """What it cost."""
