"""The segmentation learner that a run leaves behind, and how it is taken up again."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.methods import build_learner
from myosotis.continual.stream import read_learner, write_learner
from myosotis.engine.errors import InputError
from myosotis.engine.files import write_json
from myosotis.models.segmenter import SegmentationBody, SegmenterSpec, build_segmenter

_DESCRIPTION = "segmenter.json"


@dataclass(frozen=True)
class SegmentLearnerSpec:
    """What a learner is made of.

    Attributes:
        method: A key of :data:`~myosotis.continual.segmentation.methods.METHODS`.
        settings: Of the method.
        body: What its body is made of.
        classes: Their names, in the order of arrival; channel n is ``classes[n - 1]``.
        sizes: Classes of each task that it has learnt.
        seed: Of its random choices.
    """

    method: str
    settings: dict[str, Any]
    body: SegmenterSpec
    classes: tuple[str, ...]
    sizes: tuple[int, ...]
    seed: int


def body_maker(spec: SegmenterSpec, *, pretrained: bool = False) -> Callable[[int], SegmentationBody]:
    """Return what makes a body from a seed."""
    return lambda seed: build_segmenter(spec, seed=seed, pretrained=pretrained)


def make_segment_learner(spec: SegmentLearnerSpec, *, pretrained: bool = False) -> SegmentationLearner[Any]:
    """Return a learner that has seen nothing yet.

    Raises:
        InputError: The architecture does not fit.
    """
    return build_learner(spec.method, spec.settings, body_maker(spec.body, pretrained=pretrained), spec.seed)


def save_segment_learner(learner: SegmentationLearner[Any], spec: SegmentLearnerSpec, place: Path) -> None:
    """Write a learner into a directory."""
    place.mkdir(parents=True, exist_ok=True)
    write_learner(learner, place)
    write_json(place / _DESCRIPTION, asdict(spec))


def load_segment_learner(place: Path) -> tuple[SegmentationLearner[Any], SegmentLearnerSpec]:
    """Read what :func:`save_segment_learner` wrote.

    Returns:
        The learner, ready for :meth:`~.learner.SegmentationLearner.scores`, and its description.

    Raises:
        InputError: Something is missing or does not fit.
    """
    description = place / _DESCRIPTION
    if not description.is_file():
        raise InputError(f"model {place}: the directory holds no {_DESCRIPTION}, so it is no segmentation learner")
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        body = dict(content["body"])
        for key in ("mean", "std"):
            body[key] = tuple(body[key])
        spec = SegmentLearnerSpec(
            str(content["method"]),
            dict(content["settings"]),
            SegmenterSpec(**body),
            tuple(content["classes"]),
            tuple(map(int, content["sizes"])),
            int(content["seed"]),
        )
        learner = make_segment_learner(spec)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError):
        raise InputError(f"{description}: does not describe a segmentation learner") from None
    try:
        read_learner(learner, spec.sizes, place)
    except (OSError, SafetensorError, RuntimeError, KeyError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place}: its weights cannot be loaded: {first_line}") from None
    return learner, spec
