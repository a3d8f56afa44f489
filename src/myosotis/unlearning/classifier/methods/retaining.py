"""Methods that train on retained samples too: fine-tuning, NegGrad+, l1-sparse, and retraining as the reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed, seeded
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.methods.ascent import forget_losses
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, Samples, retained, step_indices

Fraction = Annotated[float, Field(ge=0, le=1)]


def retain_batch(request: Request, step: int) -> Samples:
    """Return the retained samples of a step: shuffled anew in every epoch."""
    samples = retained(request)
    return samples.batch(step_indices(len(samples), request.batch, step, request.seed, "retain"))


def retain_steps(request: Request) -> int:
    """Return the number of steps that see every retained sample once."""
    count = len(retained(request))
    return -(-count // min(request.batch, count))


def _retain_loss(model: nn.Module, request: Request, step: int) -> Tensor:
    batch = retain_batch(request, step)
    return functional.cross_entropy(model(batch.images), batch.labels)


def reinitialize(model: nn.Module, seed: int) -> None:
    """Initialise all weights again, each module by its own rule; parameters without a rule get N(0, 0.02).

    Args:
        model: Model, changed in place; running statistics start afresh too.
        seed: Seed of the draw.
    """
    with seeded(derive_seed(seed, "reinitialise"), next(model.parameters()).device):
        reached: set[int] = set()
        for module in model.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                reached |= {id(value) for value in module.parameters(recurse=False)}
        with torch.no_grad():
            for value in model.parameters():
                if id(value) not in reached:
                    value.normal_(std=0.02)


@dataclass(frozen=True)
class FineTune(Method):
    """Continue training on retained samples, so that the rest fades."""

    card: ClassVar[MethodCard] = MethodCard(
        "finetune",
        "Fine-tuning on retained samples",
        "Golatkar, Achille, Soatto: Eternal Sunshine of the Spotless Net, CVPR 2020",
        "retain",
        "nothing",
        "A baseline: preserves retained samples and forgets little in a few epochs.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        return Objective(retain_steps(request), lambda model, step: {"retain": _retain_loss(model, request, step)})


@dataclass(frozen=True)
class Retrain(Method):
    """Train from fresh weights on retained samples."""

    card: ClassVar[MethodCard] = MethodCard(
        "retrain",
        "Retraining without the instances",
        "the definition of exact unlearning",
        "retain",
        "nothing",
        "The reference for every other method; the most expensive.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False
    from_scratch: ClassVar[bool] = True

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Draw the weights anew and return cross-entropy on retained samples."""
        reinitialize(model, request.seed)
        return Objective(retain_steps(request), lambda model, step: {"retain": _retain_loss(model, request, step)})


@dataclass(frozen=True)
class NegGradPlus(Method):
    """Descent on retained samples, ascent on forgotten ones.

    Attributes:
        alpha: Weight of the retained samples; 1 - alpha is that of the ascent.
    """

    alpha: Fraction = 0.95

    card: ClassVar[MethodCard] = MethodCard(
        "neggrad_plus",
        "NegGrad+",
        "Kurmanji, Triantafillou, Hayes, Triantafillou: Towards Unbounded Machine Unlearning, NeurIPS 2023",
        "forget, retain",
        "nothing",
        "A simple, strong baseline if retained samples are available.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify", "relabel")
    reads_retain: ClassVar[bool] = True

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return alpha CE(retain) + (1 - alpha) times the loss that the goal asks for."""

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            forget = forget_losses(model, request, request.forget_indices(step)).mean()
            return {"forget": (1 - self.alpha) * forget, "retain": self.alpha * _retain_loss(model, request, step)}

        return Objective(retain_steps(request), terms)


@dataclass(frozen=True)
class L1Sparse(Method):
    """Fine-tuning with an l1 penalty that fades.

    Attributes:
        strength: Strength gamma at the start, on the sum of absolute weights; falls linearly to 0 over the epochs.
    """

    strength: Annotated[float, Field(ge=0)] = 5e-4

    card: ClassVar[MethodCard] = MethodCard(
        "l1_sparse",
        "l1-sparse fine-tuning",
        "Jia, Liu, Ram, Yao, Liu, Liu, Sharma, Liu: Model Sparsity Can Simplify Machine Unlearning, NeurIPS 2023",
        "retain",
        "nothing",
        "Fine-tuning with a penalty that removes weights which only the forgotten samples needed.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return cross-entropy on retained samples plus the fading penalty."""
        steps = retain_steps(request)

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            left = 1 - (step // steps) / request.epochs
            size = torch.stack([value.abs().sum() for value in model.parameters()]).sum()
            return {"retain": _retain_loss(model, request, step), "l1": self.strength * left * size}

        return Objective(steps, terms)
