"""Forgetting alone: ascent on the true label, or descent on a new one, without a term that preserves the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from myosotis.engine.method import MethodCard
from myosotis.unlearning.classifier.goals import ForgetLoss, Goal, misclassify_loss, relabel_loss
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request


def forget_losses(
    model: nn.Module, request: Request, indices: Tensor, loss: ForgetLoss = "cross_entropy", margin: float = 0.0
) -> Tensor:
    """Return the loss of each forget instance at ``indices`` for the goal of the request."""
    batch = request.forget.batch(indices)
    logits = model(batch.images)
    if request.new_labels is None:
        return misclassify_loss(logits, batch.labels, loss, margin)
    return relabel_loss(logits, request.new_labels[indices.to(batch.labels.device)], loss, margin)


@dataclass(frozen=True)
class NegGrad(Method):
    """Gradient ascent on the cross-entropy of the forget instances.

    Attributes:
        forget_loss: Minus the cross-entropy, as in the literature, or a margin loss with a minimum of 0.
        margin: Margin of that loss, in logits.
    """

    forget_loss: ForgetLoss = "cross_entropy"
    margin: float = 1.0

    card: ClassVar[MethodCard] = MethodCard(
        "neggrad",
        "Gradient ascent (NegGrad)",
        "Golatkar, Achille, Soatto: Eternal Sunshine of the Spotless Net, CVPR 2020",
        "forget",
        "nothing",
        "The baseline: it forgets, but damages everything else.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify",)

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return ascent on the true labels."""

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            losses = forget_losses(model, request, request.forget_indices(step), self.forget_loss, self.margin)
            return {"forget": losses.mean()}

        return Objective(request.forget_steps, terms)


@dataclass(frozen=True)
class Relabel(Method):
    """Cross-entropy with a new, wrong label.

    Attributes:
        forget_loss: The cross-entropy, as in the literature, or a margin loss with a minimum of 0.
        margin: Margin of that loss, in logits.
    """

    forget_loss: ForgetLoss = "cross_entropy"
    margin: float = 1.0

    card: ClassVar[MethodCard] = MethodCard(
        "relabel",
        "Relabelling",
        "Graves, Nagisetty, Ganesh: Amnesiac Machine Learning, AAAI 2021 (random labels)",
        "forget",
        "nothing",
        "The baseline of the goal relabel: it learns the new labels and does not protect the rest.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("relabel",)

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return descent on the new labels."""

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            losses = forget_losses(model, request, request.forget_indices(step), self.forget_loss, self.margin)
            return {"forget": losses.mean()}

        return Objective(request.forget_steps, terms)
