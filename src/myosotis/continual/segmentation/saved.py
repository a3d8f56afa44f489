"""The directory that a segmentation learner is saved in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.methods import build_learner
from myosotis.continual.stream import load_saved, write_learner
from myosotis.engine.artifact import write_description
from myosotis.models.predictor import ImagePredictor
from myosotis.models.segmenter import SegmentationBody, SegmenterSpec, build_segmenter
from myosotis.models.weight_files import Pretrained

SEGMENTER = "segmenter.json"
"""The file that describes a segmentation learner."""


@dataclass(frozen=True)
class SegmentLearnerSpec:
    """Description of a learner.

    Attributes:
        method: A key of :data:`~myosotis.continual.segmentation.methods.METHODS`.
        settings: Settings of the method.
        body: Description of its body.
        classes: Names of the classes in the order of arrival; channel n is ``classes[n - 1]``.
        sizes: Number of classes of each learnt task.
        seed: Seed of its random choices.
    """

    method: str
    settings: dict[str, Any]
    body: SegmenterSpec
    classes: tuple[str, ...]
    sizes: tuple[int, ...]
    seed: int


def body_maker(spec: SegmenterSpec, *, pretrained: Pretrained = False) -> Callable[[int], SegmentationBody]:
    """Return a function from a seed to a new body."""
    return lambda seed: build_segmenter(spec, seed=seed, pretrained=pretrained)


def make_segment_learner(spec: SegmentLearnerSpec, *, pretrained: Pretrained = False) -> SegmentationLearner[Any]:
    """Return a new learner.

    Raises:
        InputError: The architecture does not fit.
    """
    return build_learner(spec.method, spec.settings, body_maker(spec.body, pretrained=pretrained), spec.seed)


def save_segment_learner(learner: SegmentationLearner[Any], spec: SegmentLearnerSpec, path: Path) -> None:
    """Write a learner into a directory."""
    path.mkdir(parents=True, exist_ok=True)
    write_learner(learner, path)
    write_description(spec, path / SEGMENTER)


def load_segment_learner(path: Path) -> tuple[SegmentationLearner[Any], SegmentLearnerSpec]:
    """Read what :func:`save_segment_learner` wrote.

    Returns:
        The learner, ready for :meth:`~.learner.SegmentationLearner.scores`, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    title = "a segmentation learner"
    return load_saved(SegmentLearnerSpec, path / SEGMENTER, title, make_segment_learner, lambda spec: spec.sizes)


def open_segmenter(path: Path) -> ImagePredictor:
    """Return the learner in a directory for use; its first class is the background.

    Raises:
        InputError: Something is missing or does not fit.
    """
    learner, spec = load_segment_learner(path)
    return ImagePredictor(learner.net, learner.scores, ("background", *spec.classes[: sum(spec.sizes)]), batch_size=8)
