"""Instance-wise unlearning with adversarial examples and weight importance (L2UL)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.unlearning.classifier.attack import Norm, attack_success, draw_targets, pgd_attack
from myosotis.unlearning.classifier.goals import ForgetLoss, Goal
from myosotis.unlearning.classifier.importance import Reduction, importance_penalty, weight_importance
from myosotis.unlearning.classifier.methods.ascent import forget_losses
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, Samples

_PAPER = (
    "Cha, Cho, Hwang, Lee, Moon, Lee: Learning to Unlearn: Instance-wise Unlearning for Pre-trained Classifiers, "
    "AAAI 2024"
)

PositiveFloat = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Adversarial(Method):
    """Forget, and preserve the model's predictions around each instance.

    Attributes:
        copies: Adversarial examples for each forget instance.
        norm: Norm of the ball around each instance.
        eps: Radius of the ball, in units of pixel values; 4.0 in the paper for 32x32 colour images.
        step_size: Step size of the attack.
        steps: Steps of the attack.
        keep: Examples to train on: all, or only those that the model classifies as their target.
        hold: Answer that an example is held to: ``"target"``, the class that the attack aimed at, by cross-entropy, as
            in the paper; or ``"outputs"`` (ours), the old model's own probabilities, by their divergence, which is 0 at
            the start.
        release: Steps after which the preserving terms begin to fade, down to 0 after as many steps again (ours), so
            that an instance whose surroundings hold it in place is forgotten too. None keeps them.
        forget_loss: Loss of the instances: cross-entropy, as in the paper, or a margin loss (ours) that ends at 0.
        margin: Margin of that loss, in logits.
    """

    copies: PositiveInt = 20
    norm: Norm = "l2"
    eps: PositiveFloat = 4.0
    step_size: PositiveFloat = 0.1
    steps: PositiveInt = 100
    keep: Literal["all", "success"] = "all"
    hold: Literal["target", "outputs"] = "target"
    release: PositiveInt | None = None
    forget_loss: ForgetLoss = "cross_entropy"
    margin: float = 1.0

    card: ClassVar[MethodCard] = MethodCard(
        "adv",
        "Adversarial examples (ADV)",
        _PAPER,
        "forget",
        "the original weights while the examples are made; `copies` images for each forget instance",
        "Without the training set: adversarial examples around each instance preserve the decision boundary.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify", "relabel")

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Make the examples, once, from the original model; the loss is one mean over both batches."""
        images, targets, success = self._examples(original, request)
        size = min(request.batch, len(images))
        batches = -(-len(images) // size)
        answers = _log_probabilities(original, images, request.batch)

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            begin = step % batches * size
            held, aim = images[begin : begin + size], targets[begin : begin + size]
            indices = request.forget_indices(step)
            forget = forget_losses(model, request, indices, self.forget_loss, self.margin)
            logits = model(held)
            if self.hold == "target":
                adversarial = functional.cross_entropy(logits, aim, reduction="sum")
            else:
                old = answers[begin : begin + size]
                adversarial = functional.kl_div(logits.log_softmax(dim=1), old, reduction="sum", log_target=True)
            count = len(indices) + len(held)
            return {"forget": forget.sum() / count, "adversarial": self._hold_weight(step) * adversarial / count}

        facts = {"adversarial_success": success, "adversarial_examples": len(images)}
        return Objective(batches, terms, facts=facts, held=Samples(images, answers.argmax(dim=1)))

    def steps_to_begin(self, forget: int, batch: int) -> int:
        return -(-forget * self.copies // batch) * self.steps

    def _hold_weight(self, step: int) -> float:
        """Weight of the preserving terms at a step: 1, and after ``release`` steps less, down to 0."""
        return 1.0 if self.release is None else min(1.0, max(0.0, 2 - step / self.release))

    def _examples(self, original: nn.Module, request: Request) -> tuple[Tensor, Tensor, float]:
        """All copies of all instances: (images, targets, share classified as their target)."""
        forget = request.forget
        targets = draw_targets(
            forget.labels, request.num_classes, self.copies, generator(request.seed, "targets")
        ).flatten()
        images = forget.images.repeat(self.copies, 1, 1, 1)
        images = pgd_attack(
            original,
            images,
            targets,
            norm=self.norm,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            generator=generator(request.seed, "attack"),
            batch_size=request.batch,
            advance=request.advance,
        )
        reached = attack_success(original, images, targets, request.batch)
        if self.keep == "success":
            if not bool(reached.any()):
                raise SettingsError("no adversarial example reached its target; raise eps or steps")
            images, targets = images[reached.bool()], targets[reached.bool()]
        return images, targets, reached.mean().item()


@torch.no_grad()
def _log_probabilities(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """Log-probabilities of images by a model in evaluation mode."""
    pieces = [model(images[begin : begin + batch_size]) for begin in range(0, len(images), batch_size)]
    return torch.cat(pieces).float().log_softmax(dim=1)


@dataclass(frozen=True)
class AdversarialImportance(Adversarial):
    """Adversarial examples, and a penalty on weights that do not matter for the forget instances.

    Attributes:
        strength: Strength lambda; 1.0 in the paper's commands. Large values stop a small network before it has
            forgotten.
        reduction: Reduction, see :func:`~myosotis.unlearning.classifier.importance.weight_importance`.
    """

    strength: Annotated[float, Field(ge=0)] = 1.0
    reduction: Reduction = "per_sample"

    card: ClassVar[MethodCard] = MethodCard(
        "adv_imp",
        "Adversarial examples and weight importance (L2UL)",
        _PAPER,
        "forget",
        "as adv, and the original weights and their importance",
        "Without the training set; also penalises changes of weights that matter little for the instances.",
    )

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return the objective of ADV plus the penalty, which starts at exactly 0."""
        importance = weight_importance(original, request.forget.images, self.reduction, batch_size=request.forget_batch)
        anchors = {name: value.detach().clone() for name, value in original.named_parameters() if name in importance}
        inner = super().begin(model, original, request)

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            params = dict(model.named_parameters())
            return {
                **inner.terms(model, step),
                "importance": self._hold_weight(step) * importance_penalty(params, anchors, importance, self.strength),
            }

        free = torch.cat([(1 - value).flatten() for value in importance.values()]).mean().item()
        return Objective(inner.steps_per_epoch, terms, facts={**inner.facts, "mean_freedom": free}, held=inner.held)
