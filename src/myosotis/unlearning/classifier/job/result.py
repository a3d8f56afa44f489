"""``result.json`` of ``unlearn-classifier``, and the samples for people to see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field

from myosotis.data.images import ImageSet
from myosotis.engine.files import write_json
from myosotis.engine.result import Cost, Lineage, Result, ResultPart
from myosotis.report.pictures import encoded_png
from myosotis.unlearning.classifier.audit import Audit
from myosotis.unlearning.classifier.instance_result import InstanceResult
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


class Share(ResultPart):
    """A share with its exact interval."""

    mean: float
    """The share."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    count: int
    """Images that it is of."""


class WorstClass(ResultPart):
    """The class with the lowest accuracy."""

    name: str
    """Its name."""
    accuracy: float
    """Accuracy on it."""


class SetFigures(ResultPart):
    """What a model makes of a set."""

    accuracy: Share
    """Share of images whose answer is the true class."""
    loss: float
    """Mean cross-entropy, nats."""
    calibration_error: float
    """Gap between confidence and accuracy."""
    top_probability: float
    """Mean probability of the answer."""
    by_class: dict[str, float]
    """Accuracy by class, of those that occur."""
    worst_class: WorstClass
    """The class with the lowest accuracy."""


class Attack(ResultPart):
    """Membership inference by the loss, against test images of the same classes."""

    auc: float
    """AUC of a low loss; 0.5 is no trace."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    auc_reversed: float
    """AUC of a high loss."""
    auc_either: float
    """The larger of both."""
    tpr: dict[str, Share]
    """Share found by a low loss, by false-positive rate."""
    tpr_reversed: dict[str, Share]
    """Share found by a high loss, by false-positive rate."""
    rates: list[float]
    """The false-positive rates."""
    members: int
    """Images of the set."""
    others: int
    """Test images."""
    p_value: float
    """p-value of the two-sided rank test."""
    decidable: bool
    """Whether so few images could have shown anything."""
    traceable: bool
    """Whether the loss is shown to be lower."""
    over_unlearned: bool
    """Whether it is shown to be higher."""


class ModelFigures(ResultPart):
    """What a model makes of each set; null for a set that there is not."""

    forget: SetFigures
    """Instances to forget."""
    remaining: SetFigures | None = None
    """Other training images."""
    held_remaining: SetFigures | None = None
    """Those that the unlearning did not train on."""
    test: SetFigures | None = None
    """Test images."""
    membership: dict[str, Attack] = Field(default_factory=dict)
    """Attacks by the loss on ``forget`` and ``remaining``; without test images there is none."""

    def of(self, name: str) -> SetFigures | None:
        """Return the figures of a set by its name."""
        figures: SetFigures | None = getattr(self, name)
        return figures


@dataclass(frozen=True)
class Instance(InstanceResult):
    """Outcome for an instance with a name.

    Attributes:
        fingerprint: Its salted fingerprint.
    """

    fingerprint: str


class RequestFigures(ResultPart):
    """How one of several requests went."""

    instances: int
    """Instances that it unlearned."""
    converged: bool
    """Whether its goal was reached."""
    stop_reason: str
    """Why it ended."""
    steps: int
    """Optimisation steps."""
    seconds: float
    """Wall time."""
    forget_accuracy: list[float]
    """Accuracy on each request so far after it."""


class Variant(ResultPart):
    """Another method on the same request."""

    name: str
    """Goal and method, in words."""
    method: str
    """Name of the method."""
    goal: str
    """Its goal."""
    converged: bool
    """Whether the goal was reached."""
    stop_reason: str
    """Why it ended."""
    steps: int
    """Optimisation steps."""
    seconds: float
    """Wall time."""
    batch_norm_drift: float | None
    """Mean change of running means in old standard deviations."""
    facts: dict[str, float]
    """Figures of the method's preparation."""
    metrics: ModelFigures
    """What its model makes of each set."""


class RelearningPoint(ResultPart):
    """A point of a relearning curve."""

    step: int
    """Steps of relearning."""
    shown: float
    """Accuracy on the instances that are shown again."""
    held: float
    """Accuracy on the others."""


class RelearningCurves(ResultPart):
    """How soon instances come back when some of them are shown again."""

    level: float
    """Accuracy on the others before unlearning."""
    curves: dict[str, list[RelearningPoint]]
    """The curve of each model."""
    steps_to_return: dict[str, int | None]
    """Steps until a model reaches the level; null where it does not."""


class Stress(ResultPart):
    """Stress tests, as far as they were asked for."""

    relearning: RelearningCurves | None = None
    """Relearning."""
    copies: dict[str, dict[str, float]] | None = None
    """Accuracy on slightly changed copies, by model and change."""


class Similarity(ResultPart):
    """Linear CKA of the layers before and after."""

    layers: list[str]
    """Names of the layers, first to last."""
    similarity: dict[str, dict[str, float | None]]
    """By set and layer; null where a layer does not vary."""
    images: int
    """Images that it is measured on at most."""


class Lira(ResultPart):
    """U-LiRA on the shadow models themselves."""

    accuracy: Share
    """Share of models told right; 0.5 is no trace."""
    auc: float
    """AUC of the likelihood ratio."""
    tpr: dict[str, Share]
    """Share found by false-positive rate."""
    trials: int
    """Trials: models by instances."""
    called_unlearned: float
    """Share of instances of the model in question with a posterior above one half."""
    posteriors: list[float]
    """Posterior of each instance."""


class Rmia(ResultPart):
    """RMIA of instances against test images."""

    auc: float
    """AUC; 0.5 is no trace."""
    low: float | None
    """Lower end of its interval."""
    high: float | None
    """Upper end."""
    tpr: dict[str, Share]
    """Share found by false-positive rate."""
    members: int
    """Instances."""
    others: int
    """Test images."""


class Shadow(ResultPart):
    """Attacks with shadow models, see :func:`~myosotis.unlearning.classifier.shadow.shadow_audit`."""

    pairs: int
    """Pairs of shadow models."""
    u_lira: Lira
    """U-LiRA."""
    rmia: dict[str, Rmia]
    """RMIA, by model."""


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
    requests: list[RequestFigures] | None
    """Outcome of each of several requests; null for one."""
    instances: list[Instance]
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
    """Result of ``unlearn-classifier``."""

    kind: Literal["unlearn-classifier"]
    method: str
    """Name of the method."""
    goal: str
    """Goal of the unlearning."""
    classes: list[str]
    """Names of the classes in the order of the logits."""
    images: ImageCounts
    """Numbers of images."""
    metrics: dict[str, ModelFigures]
    """By model: ``before``, ``after``, ``reference``."""
    unlearning: Unlearning
    """What became of the model and of the instances."""
    variants: list[Variant]
    """Other methods on the same request."""
    reads_retain: bool
    """Whether the method read retained samples."""
    distances: dict[str, dict[str, dict[str, float]]]
    """Distances of the outputs from the model before and from the reference, by set."""
    stress: Stress
    """Relearning curves, and accuracy on altered copies."""
    cka: Similarity | None = None
    """Similarity of the layers to those of the model before."""
    shadow: Shadow | None = None
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
