"""``result.json`` of ``learn-segments``."""

from typing import Literal

from pydantic import Field

from myosotis.engine.result import Result, ResultPart, StreamCost
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.learning import LearningVerdict


class GroupIoU(ResultPart):
    """Mean IoU of groups of channels; channels without an IoU do not count, null where none of a group has one."""

    all: float | None
    """Every channel, the background included."""
    base: float | None
    """Classes of the first task."""
    base_with_background: float | None
    """Classes of the first task and the background."""
    new: float | None
    """Classes of later tasks."""
    harmonic: float | None
    """Harmonic mean of ``base`` and ``new``; 0 if either is 0."""
    absent: int
    """Channels without an IoU."""


class SegmentMetrics(GroupIoU):
    """Figures at the end."""

    forgetting: float | None
    """Mean over classes of the best IoU less the final one."""


class Reappearance(ResultPart):
    """How often images come back."""

    images: list[int]
    """Images of each task."""
    repeated_images: float
    """Share of all distinct images that are in more than one task."""
    seen_images: list[float]
    """Share of the images of each task that an earlier task trained on; 0 for the first."""
    old_pixels: list[int]
    """Pixels of classes of earlier tasks in the images of each task."""
    seen_old_pixels: list[float | None]
    """Share of these that an earlier task trained on, with that label; null without such pixels."""
    future_pixels: list[int]
    """Pixels of classes of later tasks in the images of each task, which are background in it."""


class ImageGroup(ResultPart):
    """How old classes are labelled in a group of images."""

    images: int
    """Images."""
    old_pixels: int
    """Pixels of old classes."""
    right: float | None
    """Share of them that are labelled correctly; null without any."""
    other_pixels: int
    """Pixels of new and later classes."""
    taken_for_old: float | None
    """Share of them that are labelled as an old class; null without any."""


class PseudoLabels(ResultPart):
    """How the network before a task labels old classes in the images of the task."""

    seen: ImageGroup
    """In images that an earlier task trained on."""
    unseen: ImageGroup
    """In the others."""


class MemoryAudit(ResultPart):
    """What the memory holds."""

    images: int
    """Images."""
    of_class: dict[int, int]
    """Images that show a class, by its channel."""
    leaks: int
    """Masks that show a class which their task did not label."""


class SegmentationRecord(ResultPart):
    """Measurements after a task."""

    confusion: list[list[int]]
    """Pixels of each channel so far that were predicted as each."""
    test_images: int
    """Test images that show a class so far."""
    pseudo_labels: PseudoLabels | None
    """How the network before the task labels its images; null for the first task."""
    memory: MemoryAudit
    """What the memory holds."""
    seconds: float | None
    """Training seconds; null where an earlier session did a part of it."""
    steps: int
    """Optimisation steps."""
    images: int
    """Images that passed through the network in training."""
    parameters: int
    """Parameters of the network."""
    intervals: dict[str, Interval] = Field(default_factory=dict)
    """Mean IoU over the images, by :func:`~.metrics.mean_iou_over_images`."""


class SegmentCost(StreamCost):
    """What learning to segment cost."""

    parameters: int
    """Parameters of the network at the end."""


class SegmentResult(Result):
    """Result of ``learn-segments``."""

    kind: Literal["learn-segments"]
    method: str
    """Name of the method."""
    scenario: str
    """Scenario: ``partitioned``, ``disjoint``, ``overlapped`` or ``sequential``."""
    unseen: str
    """What pixels of classes to come are in the test: ``ignore`` or ``background``."""
    classes: list[str]
    """Classes in the order of arrival, without the background."""
    tasks: list[list[str]]
    """Classes of each task."""
    reappearance: Reappearance
    """How often images come back."""
    metrics: SegmentMetrics
    """Mean IoU of groups at the end."""
    figures_after_task: list[GroupIoU]
    """Mean IoU of groups after each task."""
    iou: list[list[float | None]]
    """IoU of each channel after each task, background first."""
    forgetting: list[float | None]
    """Best IoU of each channel less its final one."""
    confusion: list[list[int]]
    """Pixels of each channel (rows) predicted as each channel (columns) at the end."""
    verdict: LearningVerdict | None = None
    """Whether the mean IoU is above that of predicting the most frequent channel, and that of the first task kept."""
    pseudo_labels: list[PseudoLabels | None]
    """How the network before each task labels old classes in the images of the task, ``seen`` and ``unseen``."""
    memory: list[MemoryAudit]
    """Images in the memory after each task, by class, and masks that show more than their task labelled."""
    test_images: list[int]
    """Test images that show a class so far, after each task."""
    panels: list[str]
    """Names of the test images that the report shows."""
    cost: SegmentCost
    """What it cost."""
