"""Methods that choose which weights may change: SalUn and selective synaptic dampening."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating
from myosotis.unlearning.classifier.attack import draw_targets
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, Samples, retained
from myosotis.unlearning.classifier.methods.retaining import retain_batch, retain_steps

_MAX_GRADIENT_VALUES = 100_000_000
"""How many numbers the per-sample gradients of a chunk may hold together: 400 MB in float32."""


def saliency_mask(model: nn.Module, samples: Samples, share: float, batch_size: int = 256) -> dict[str, Tensor]:
    """Return True for the weights whose gradient of the summed cross-entropy is among the largest of all tensors.

    Args:
        model: Classifier, used in evaluation mode; its gradients are not changed.
        samples: Forget instances.
        share: Share of all weights that are True, in (0, 1].
        batch_size: Samples per forward pass.

    Raises:
        ValueError: ``share`` is out of range.
    """
    if not 0 < share <= 1:
        raise SettingsError(f"share must be in (0, 1], got {share}")
    params = {name: value for name, value in model.named_parameters() if value.requires_grad}
    total = {name: torch.zeros_like(value) for name, value in params.items()}
    with evaluating(model):
        for begin in range(0, len(samples), batch_size):
            images, labels = samples.images[begin : begin + batch_size], samples.labels[begin : begin + batch_size]
            loss = functional.cross_entropy(model(images), labels, reduction="sum")
            for name, value in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
                total[name] += value
    sizes = torch.cat([value.abs().flatten() for value in total.values()])
    count = max(1, round(share * len(sizes)))
    chosen = torch.zeros(len(sizes), dtype=torch.bool, device=sizes.device)
    chosen[sizes.topk(count).indices] = True
    pieces = torch.split(chosen, [value.numel() for value in total.values()])
    return {name: piece.view_as(total[name]) for name, piece in zip(total, pieces, strict=True)}


def diagonal_fisher(model: nn.Module, samples: Samples) -> dict[str, Float[Tensor, "..."]]:
    """Return the mean over samples of the squared gradient of each sample's cross-entropy.

    Squared sample by sample: the square of a batch's mean gradient, which released code takes, is 0 where signs cancel.

    Args:
        model: Classifier, used in evaluation mode.
        samples: Samples with the labels to learn.
    """
    params = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    fixed = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}

    def of_one(values: Mapping[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(model, {**fixed, **values}, (image.unsqueeze(0),))
        return functional.cross_entropy(logits.float(), label.unsqueeze(0))

    gradients = vmap(grad(of_one), in_dims=(None, 0, 0))
    chunk = max(1, _MAX_GRADIENT_VALUES // sum(value.numel() for value in params.values()))
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in params.items()}
    with evaluating(model), torch.no_grad():
        for begin in range(0, len(samples), chunk):
            images, labels = samples.images[begin : begin + chunk], samples.labels[begin : begin + chunk]
            for name, value in gradients(params, images, labels).items():
                total[name] += value.float().square().sum(dim=0)
    return {name: value / len(samples) for name, value in total.items()}


@dataclass(frozen=True)
class SalUn(Method):
    """Random labels for the instances, true ones for retained samples, and only salient weights move.

    Attributes:
        share: Share of all weights that may change.
        draw_again: Draw new random labels in every epoch for the goal misclassify; with relabel the new labels stay.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    draw_again: bool = True

    card: ClassVar[MethodCard] = MethodCard(
        "salun",
        "Saliency unlearning (SalUn)",
        "Fan, Liu, Zhang, Wong, Wei, Liu: SalUn, ICLR 2024",
        "forget, retain",
        "a mask and a copy of the weights",
        "If retained samples are available; the mask limits the damage.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify", "relabel")
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return both cross-entropies; weights outside the mask are restored after every step."""
        steps = retain_steps(request)
        mask = saliency_mask(original, request.forget, self.share)
        params = dict(model.named_parameters())
        start = {name: params[name].detach().clone() for name in mask}

        def labels(epoch: int) -> Tensor:
            if request.new_labels is not None:
                return request.new_labels
            stream = generator(request.seed, "random labels", epoch if self.draw_again else 0)
            return draw_targets(request.forget.labels, request.num_classes, 1, stream)[0]

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            indices = request.forget_indices(step)
            forget, keep = request.forget.batch(indices), retain_batch(request, step)
            wrong = labels(step // steps)[indices.to(forget.labels.device)]
            return {
                "forget": functional.cross_entropy(model(forget.images), wrong),
                "retain": functional.cross_entropy(model(keep.images), keep.labels),
            }

        def after_step() -> None:
            # Masking gradients is not enough: momentum and weight decay change weights without a gradient.
            with torch.no_grad():
                for name, free in mask.items():
                    params[name].copy_(torch.where(free, params[name], start[name]))

        moved = sum(int(free.sum()) for free in mask.values()) / sum(free.numel() for free in mask.values())
        return Objective(steps, terms, after_step, {"share_of_weights_free": moved})


@dataclass(frozen=True)
class SelectiveSynapticDampening(Method):
    """Shrink the weights that matter far more for the forget instances than for all samples; nothing is trained.

    Attributes:
        selection: Threshold alpha; a weight is shrunk where its Fisher information on the instances is above
            alpha times that on all.
        dampening: Dampening lambda; a selected weight is multiplied by min(1, lambda times the ratio of the two).
    """

    selection: Annotated[float, Field(gt=0)] = 10.0
    dampening: Annotated[float, Field(gt=0)] = 1.0

    card: ClassVar[MethodCard] = MethodCard(
        "ssd",
        "Selective synaptic dampening (SSD)",
        "Foster, Schoepf, Brintrup: Fast Machine Unlearning without Retraining, AAAI 2024",
        "forget, retain",
        "two numbers for each weight",
        "The fastest method that reads retained samples: no training.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Shrink the weights at once and leave nothing to train."""
        keep = retained(request)
        every = Samples(
            torch.cat([request.forget.images, keep.images]), torch.cat([request.forget.labels, keep.labels])
        )
        of_forget, of_all = diagonal_fisher(original, request.forget), diagonal_fisher(original, every)
        shrunk, count = 0, 0
        with torch.no_grad():
            for name, value in model.named_parameters():
                if name not in of_forget:
                    continue
                chosen = of_forget[name] > self.selection * of_all[name]
                ratio = self.dampening * of_all[name] / of_forget[name].clamp_min(torch.finfo(torch.float32).tiny)
                value.mul_(torch.where(chosen, ratio.clamp_max(1), torch.ones_like(ratio)).to(value.dtype))
                shrunk, count = shrunk + int(chosen.sum()), count + value.numel()
        return Objective(0, lambda _model, _step: {}, facts={"share_of_weights_shrunk": shrunk / count})
