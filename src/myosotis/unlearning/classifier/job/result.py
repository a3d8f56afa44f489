"""``result.json`` of ``myosotis unlearn classifier``, and the samples for people to see."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from myosotis.data.images import ImageSet
from myosotis.engine.files import write_json
from myosotis.engine.result import Cost, Lineage, Result, ResultPart
from myosotis.report.pictures import encoded_png
from myosotis.unlearning.classifier.audit import Audit
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.methods import build_method
from myosotis.unlearning.classifier.verdict import ClassifierVerdict, judge


class ImageCounts(ResultPart):
    """Numbers of images."""

    forget: int
    """Instances to forget."""
    remaining: int
    """Other training images."""
    test: int
    """Test images."""
    audited: dict[str, int]
    """Images that the audit looks at, by set."""
    by_class: dict[str, int]
    """Instances to forget by class."""
    duplicates: dict[str, int]
    """Other training images that equal an instance to forget, whatever their class, which do not remain (``same``); and
    remaining ones that nearly do (``near``)."""


class Unlearning(ResultPart):
    """What became of the model and of the instances."""

    converged: bool
    """Whether the goal, or the level of the reference, was reached."""
    stop_reason: str
    """``goal``, ``reference``, ``already``, ``epochs``, ``steps``, ``edited`` or ``diverged``."""
    steps: int
    """Optimisation steps."""
    seconds: float
    """Wall time, preparation included."""
    min_margin: float
    """Smallest margin of all instances: logits beyond the decision boundary."""
    facts: dict[str, float]
    """Figures of the method's preparation."""
    batch_norm_drift: float | None
    """Mean change of running means in old standard deviations; null without batch normalisation."""
    warnings: list[str]
    """Warnings for the reader."""
    requests: list[dict[str, Any]] | None
    """Outcome of each of several requests; null for one."""
    instances: list[dict[str, Any]]
    """For each instance its fingerprint, predictions, probabilities and margin."""


class ClassifierCost(Cost):
    """What the job cost."""

    share_of_retraining: float | None
    """Time of unlearning divided by that of training without the instances; null where the latter is not known."""
    parameters: int
    """Parameters of the model."""


class ClassifierLineage(Lineage):
    """What came in and went out."""

    base: str | None
    """The model of the configuration; null where the run trained it."""
    model_in: str
    """The model that came in."""
    model_out: str
    """The model that went out."""


class ClassifierResult(Result):
    """Result of ``unlearn classifier``."""

    kind: Literal["unlearn-classifier"]
    method: str
    """Name of the method."""
    goal: str
    """Goal of the unlearning."""
    classes: list[str]
    """Names of the classes in the order of the logits."""
    images: ImageCounts
    """Numbers of images."""
    metrics: dict[str, dict[str, Any]]
    """By model (``before``, ``after``, ``reference``) and set: accuracy with interval, loss, calibration error, figures
    by class, and under ``membership`` the attacks."""
    unlearning: Unlearning
    """What became of the model and of the instances."""
    variants: list[dict[str, Any]]
    """Other methods on the same request."""
    reads_retain: bool
    """Whether the method read retained samples."""
    distances: dict[str, dict[str, Any]]
    """Distances of the outputs from the model before and from the reference, by set."""
    stress: dict[str, Any]
    """Relearning curves, and accuracy on altered copies."""
    cka: dict[str, Any] | None = None
    """Similarity of the layers to those of the model before."""
    shadow: dict[str, Any] | None = None
    """Membership inference by shadow models."""
    verdict: ClassifierVerdict
    """The answers, with the comparisons that they rest on."""
    lineage: ClassifierLineage
    cost: ClassifierCost
    """What the job cost."""


def result_of(
    context: JobContext, audits: Mapping[str, Audit], outcome: Mapping[str, Any], variants: Sequence[Any]
) -> dict[str, Any]:
    """Return the part of ``result.json`` that says what the models showed and how the unlearning went.

    Args:
        context: The context of the job.
        audits: Audits ``before`` and ``after``, and of the ``reference`` if there is one.
        outcome: Outcome of the unlearning.
        variants: Figures of other methods.
    """
    config, inputs = context.config, context.inputs
    fingerprints = context.fingerprints["forget"]
    instances = [
        {**instance, "fingerprint": fingerprint}
        for instance, fingerprint in zip(outcome["instances"], fingerprints, strict=True)
    ]
    return {
        "goal": config.goal,
        "request": config.request.model_dump(mode="json"),
        "classes": list(inputs.classes),
        "images": {
            "forget": len(inputs.forget),
            "remaining": len(inputs.remaining or ()),
            "test": len(inputs.test or ()),
            "audited": {name: len(images) for name, images in context.sets.audited.items()},
            "by_class": _histogram(inputs.forget),
            "duplicates": {"same": inputs.same, "near": inputs.near},
        },
        "metrics": {name: audits[name].metrics for name in ("before", "after", "reference") if name in audits},
        "unlearning": {**outcome, "instances": instances},
        "variants": list(variants),
        "reads_retain": build_method(config.method.name, config.method.settings).reads_retain,
    }


def verdict_of(
    context: JobContext, audits: Mapping[str, Audit], outcome: Mapping[str, Any], shadow: Mapping[str, Any] | None
) -> ClassifierVerdict:
    """Return the answers of the verdict, see :func:`~myosotis.unlearning.classifier.verdict.judge`.

    Args:
        context: The context of the job.
        audits: Audits ``before`` and ``after``, and of the ``reference`` if there is one.
        outcome: Outcome of the unlearning.
        shadow: Result of the attack with shadow models, if there was one.
    """
    config = context.config
    method = build_method(config.method.name, config.method.settings)
    return judge(
        audits,
        outcome,
        {name: images.labels for name, images in context.sets.audited.items()},
        context.inputs.classes,
        config.audit.verdict,
        by_goal=method.stops_at_goal and config.stop.at != "reference",
        kept_sets=context.sets.kept_sets(config.method),
        shadow=shadow,
        forgotten_classes=context.sets.forgotten_classes,
    )


def write_samples(context: JobContext, outcome: Mapping[str, Any]) -> None:
    """Write each image to forget as PNG, with its class and the answers to it, readable by their owner alone."""
    forget = context.inputs.forget
    rows = [
        {
            "png": encoded_png(image.permute(1, 2, 0).contiguous().numpy()),
            "label": forget.classes[int(label)],
            "before": forget.classes[instance["answer_before"]],
            "after": forget.classes[instance["answer_after"]],
        }
        for image, label, instance in zip(forget.images, forget.labels, outcome["instances"], strict=True)
    ]
    write_json(context.run.path / "samples.json", rows, private=True)


def _histogram(images: ImageSet) -> dict[str, int]:
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    return {name: count for name, count in zip(images.classes, counts, strict=True) if count}
