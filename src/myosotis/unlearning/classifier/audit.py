"""Measurements of a classifier before and after unlearning: accuracy, calibration, membership, distances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.data.images import ImageSet
from myosotis.engine.errors import DivergedError
from myosotis.evaluation.calibration import calibration_error
from myosotis.evaluation.intervals import clopper_pearson
from myosotis.evaluation.membership import LOW_RATES, stratified_membership
from myosotis.models.modes import evaluating
from myosotis.unlearning.classifier.stress import noise_generator, noisy_copies

_BATCH = 512
_TINY = 1e-15  # keeps the odds of a loss of zero finite
_VALUES = ("losses", "right", "copies")


@dataclass(frozen=True)
class Audit:
    """Measurements of one model.

    Attributes:
        metrics: Figures by set, see :func:`audit_sets`.
        losses: Cross-entropy of every image, in nats, by set.
        right: 1 for every image whose prediction is its true class, else 0, by set.
        copies: Cross-entropy of a noisy copy of every image of ``forget`` and ``test``; empty where none was made.
    """

    metrics: dict[str, Any]
    losses: dict[str, Tensor]
    right: dict[str, Tensor]
    copies: dict[str, Tensor] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the audit as JSON."""
        values = {name: {split: row.tolist() for split, row in getattr(self, name).items()} for name in _VALUES}
        return {"metrics": self.metrics, **values}

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Audit":
        """Return the audit that :meth:`as_json` gave."""
        losses, right, copies = (
            {split: torch.tensor(row, dtype=torch.float64) for split, row in stored.get(name, {}).items()}
            for name in _VALUES
        )
        return cls(dict(stored["metrics"]), losses, right, copies)


@torch.no_grad()
def predict(
    model: nn.Module,
    images: ImageSet,
    batch_size: int = _BATCH,
    changed: Callable[[Tensor], Tensor] | None = None,
) -> Float[Tensor, "n classes"]:
    """Return the logits of every image, on the CPU in float32; the images go to the model's device batch by batch.

    Args:
        model: Classifier, used in evaluation mode.
        images: Images as bytes.
        batch_size: Images per forward pass.
        changed: Function from a batch in [0, 1] to the one that the model sees instead, batch after batch.

    Raises:
        DivergedError: A logit is not finite: such a model predicts nothing, and that must not pass for forgetting.
    """
    device = next(model.parameters()).device
    pieces = []
    with evaluating(model):
        for begin in range(0, len(images), batch_size):
            batch = images.subset(range(begin, min(begin + batch_size, len(images)))).pixels(device)
            pieces.append(model(batch if changed is None else changed(batch)).float().cpu())
    logits = torch.cat(pieces)
    if not bool(logits.isfinite().all()):
        raise DivergedError("the model returns logits that are not finite, so its predictions are meaningless")
    return logits


def true_label_probabilities(model: nn.Module, images: ImageSet) -> Float[Tensor, " n"]:
    """Return the probability of the true class of every image, on the CPU."""
    return predict(model, images).softmax(dim=1).gather(1, images.labels.unsqueeze(1)).flatten()


def share(hits: int, count: int, confidence: float = 0.95) -> dict[str, float]:
    """Return a share with its exact interval, ready for JSON.

    Example:
        >>> share(0, 16)["mean"], round(share(0, 16)["high"], 4)
        (0.0, 0.2059)
    """
    low, high = clopper_pearson(hits, count, confidence)
    return {"mean": hits / count, "low": low, "high": high, "count": count}


def measure(
    logits: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    classes: Sequence[str],
    *,
    bins: int = 15,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return the figures of a set: accuracy, loss, calibration, accuracy by class, and the worst class.

    Args:
        logits: Logits on the CPU.
        labels: True classes.
        classes: Names of the classes.
        bins: Bins of the calibration error.
        confidence: Level of the Clopper-Pearson interval of the accuracy.

    Returns:
        ``accuracy`` (mean, low, high, count), ``loss`` (mean cross-entropy in nats), ``calibration_error``,
        ``top_probability``, ``by_class`` (accuracy of every class that occurs) and ``worst_class`` (its name and
        accuracy).
    """
    right = logits.argmax(dim=1) == labels
    probabilities = logits.softmax(dim=1)
    by_class = {classes[label]: right[labels == label].float().mean().item() for label in sorted(set(labels.tolist()))}
    worst = min(by_class, key=lambda name: by_class[name])
    return {
        "accuracy": share(int(right.sum()), len(labels), confidence),
        "loss": functional.cross_entropy(logits, labels).item(),
        "calibration_error": calibration_error(probabilities, labels, bins),
        "top_probability": probabilities.amax(dim=1).mean().item(),
        "by_class": by_class,
        "worst_class": {"name": worst, "accuracy": by_class[worst]},
    }


def population_membership(
    members: Float[Tensor, " members"],
    others: Float[Tensor, " others"],
    classes: Sequence[int] | None = None,
    other_classes: Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
) -> dict[str, Any] | None:
    """Return how well the loss distinguishes samples from unseen ones of their classes, in both directions.

    A low loss reveals what is remembered, a high loss what was over-forgotten, so both signs are tested. True-positive
    rates have exact intervals, because n non-members cannot show a rate below 1/n.

    Args:
        members: Loss of each sample that was trained on, or is said to be forgotten.
        others: Loss of each sample that was never seen.
        classes: Class of each sample; None if all are of one.
        other_classes: Class of each sample that was never seen.
        confidence: Level of the intervals.

    Returns:
        None where no sample that was never seen is of one of the classes, else
        ``auc`` with ``low`` and ``high`` (0.5 is no trace), ``auc_reversed`` (that of the other sign), ``auc_either``
        (the larger), ``tpr`` and ``tpr_reversed`` by false-positive rate, ``members``, ``others``, ``p_value`` of the
        two-sided rank test, ``decidable`` (whether so few images could show anything), ``traceable`` and
        ``over_unlearned``.
    """
    attacks = []
    strata = (classes or [0] * len(members)), (other_classes or [0] * len(others))
    for sign in (1, -1):
        attack = stratified_membership(sign * members, sign * others, *strata, level=confidence)
        if attack is None:
            return None
        rates = {
            rate: share(round(value * attack.members), attack.members, confidence)
            for rate, value in attack.tpr_at_fpr.items()
        }
        attacks.append((attack, rates))
    (as_member, tpr), (as_forgotten, tpr_reversed) = attacks
    return {
        "auc": as_member.auc,
        "low": as_member.low,
        "high": as_member.high,
        "auc_reversed": as_forgotten.auc,
        "auc_either": max(as_member.auc, as_forgotten.auc),
        "tpr": tpr,
        "tpr_reversed": tpr_reversed,
        "rates": list(LOW_RATES),
        "members": as_member.members,
        "others": as_member.others,
        "p_value": as_member.p_value,
        "decidable": as_member.decidable,
        "traceable": as_member.traceable,
        "over_unlearned": as_member.over_unlearned,
    }


def losses(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the cross-entropy of every sample."""
    return functional.cross_entropy(logits, labels, reduction="none")


def log_odds(losses: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log(p / (1 - p)) of the probability p of the true class, from the cross-entropy -log p.

    Between images that a model is sure of it tells more than the probability does (Carlini et al., IEEE S&P 2022).

    Args:
        losses: Cross-entropy in float64; below 1e-15 it counts as that.

    Example:
        >>> log_odds(-torch.tensor([0.5, 0.9], dtype=torch.float64).log()).exp().round(decimals=6).tolist()
        [1.0, 9.0]
    """
    losses = losses.double().clamp_min(_TINY)
    return -losses - (-torch.expm1(-losses)).log()


def output_distances(first: Float[Tensor, "n classes"], second: Float[Tensor, "n classes"]) -> dict[str, float]:
    """Return how differently two models answer on the same images.

    Args:
        first: Logits of the first model.
        second: Logits of the second model.

    Returns:
        ``disagreement``: share of images with different predictions; ``jensen_shannon``: mean divergence in
        nats, at most log 2; ``activation``: mean Euclidean distance of the probabilities (Golatkar et al.'s activation
        distance).

    Example:
        >>> distances = output_distances(torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.1, 0.9]]).log())
        >>> distances["disagreement"], round(distances["jensen_shannon"], 4)
        (1.0, 0.3681)
    """
    p, q = first.double().log_softmax(dim=1), second.double().log_softmax(dim=1)
    middle = torch.logaddexp(p, q) - torch.tensor(2.0).double().log()
    divergences = [(side.exp() * (side - middle)).sum(dim=1) for side in (p, q)]
    return {
        "disagreement": (first.argmax(dim=1) != second.argmax(dim=1)).double().mean().item(),
        "jensen_shannon": (sum(divergences) / 2).mean().item(),  # type: ignore[union-attr]
        "activation": torch.linalg.vector_norm(p.exp() - q.exp(), dim=1).mean().item(),
    }


def audit_sets(
    model: nn.Module,
    sets: Mapping[str, ImageSet],
    *,
    bins: int = 15,
    confidence: float = 0.95,
    copies_seed: int | None = None,
) -> Audit:
    """Return the measurements of a model on each set.

    Args:
        model: Classifier, used in evaluation mode.
        sets: ``forget``, and where they are known ``remaining``, ``held_remaining`` and ``test``.
        bins: Bins of the calibration error.
        confidence: Level of all intervals.
        copies_seed: Seed of the noise of the copies of ``forget`` and ``test``; None makes no copies.

    Returns:
        Metrics: the figures of :func:`measure` for each set, and ``membership`` of ``forget`` and of ``remaining``
        against test images of the same classes; and the values of every image.
    """
    logits = {name: predict(model, images) for name, images in sets.items()}
    metrics: dict[str, Any] = {
        name: measure(logits[name], images.labels, images.classes, bins=bins, confidence=confidence)
        for name, images in sets.items()
    }
    loss = {name: losses(logits[name].double(), images.labels) for name, images in sets.items()}
    if "test" in sets:
        labels = {name: images.labels.tolist() for name, images in sets.items()}
        attacks = {
            name: population_membership(loss[name], loss["test"], labels[name], labels["test"], confidence=confidence)
            for name in ("forget", "remaining")
            if name in sets
        }
        metrics["membership"] = {name: attack for name, attack in attacks.items() if attack is not None}
    copies = {}
    if copies_seed is not None:
        copies = {name: _copies(model, sets[name], copies_seed) for name in ("forget", "test") if name in sets}
    right = {name: (logits[name].argmax(dim=1) == images.labels).double() for name, images in sets.items()}
    return Audit(metrics, loss, right, copies)


def _copies(model: nn.Module, images: ImageSet, seed: int) -> Float[Tensor, " n"]:
    """The cross-entropy of a noisy copy of every image, the same for every model."""
    stream = noise_generator(seed)
    logits = predict(model, images, changed=lambda batch: noisy_copies(batch, stream))
    return losses(logits.double(), images.labels)
