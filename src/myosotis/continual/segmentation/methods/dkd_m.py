"""DKD-M: decomposed knowledge distillation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.segmentation.learner import Group, SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.losses import one_hot_channels
from myosotis.continual.segmentation.network import GrowingHeads, Outputs, SegmentationNet, enlarged
from myosotis.data.masks import IGNORE
from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device


def decomposed(heads: GrowingHeads, features: Float[Tensor, "n features h w"]) -> tuple[Tensor, Tensor]:
    """Return the contributions of positive and of negative weights to the logits of all classes, without biases."""
    weight = torch.cat(list(heads.weights))[1:, :, None, None]
    return functional.conv2d(features, weight.clamp(min=0)), functional.conv2d(features, weight.clamp(max=0))


class _AuxiliaryNet(SegmentationNet):
    """A network whose block 0 has no gradient to the features."""

    def forward(self, images: Tensor) -> Outputs:
        """Return logits; channel 0 is the auxiliary one."""
        features, maps = self.body(images)
        detached = features.detach()
        weight, bias = self.heads.weights[0], self.heads.biases[0]
        auxiliary = functional.conv2d(detached, weight[:, :, None, None], bias)
        logits = torch.cat([auxiliary, self.heads(features)[:, 1:]], dim=1)
        return Outputs(enlarged(logits, images, self.body.multiple), logits, features, maps)


@dataclass(frozen=True)
class DKDMSettings:
    """Settings of DKD-M.

    Attributes:
        distillation: Weight of the distillation of outputs.
        decomposed: Weight of the distillation of their positive and of their negative parts.
        auxiliary: Weight of the auxiliary output, which is trained to be negative.
        first_positive: Weight of a pixel of a class, relative to other pixels, in the first task.
    """

    distillation: NonNegativeFloat = 5.0
    decomposed: NonNegativeFloat = 5.0
    auxiliary: NonNegativeFloat = 1.0
    first_positive: PositiveFloat = 2.0


class DKDM(SegmentationLearner[DKDMSettings]):
    """Independent outputs; old ones are distilled, and so are their positive and negative parts.

    New heads start from an auxiliary head that is negative everywhere, without gradient to the features. The
    prediction is the strongest class above one half, else background. Exemplars train the outputs that they label.
    """

    card = MethodCard(
        "dkd_m",
        "DKD-M",
        "Baek, Oh, Lee, Lee, Ham, NeurIPS 2022",
        "current task, exemplars",
        "exemplars with their masks, the old network",
        "Independent outputs; old classes can still change.",
    )
    Settings = DKDMSettings
    reads_memory = True

    def build(self, seed: int) -> nn.Module:
        """Return a network whose channel 0 is auxiliary."""
        return _AuxiliaryNet(self._make_body(seed))

    def before_task(self, task: SegmentationState) -> None:
        """Start new heads from the auxiliary head."""
        super().before_task(task)
        if task.number:
            with torch.no_grad():
                heads = self.net.heads
                heads.weights[-1].copy_(heads.weights[0].expand_as(heads.weights[-1]))
                heads.biases[-1].copy_(heads.biases[0].expand_as(heads.biases[-1]))

    def groups(self, task: SegmentationState, head_rate: float) -> list[Group]:
        """Return all parameters; old ones have no weight decay after the first task."""
        if not task.number:
            return super().groups(task, head_rate)
        heads = self.net.heads
        new = [heads.weights[0], heads.biases[0], heads.weights[-1], heads.biases[-1]]
        old = [*list(heads.weights)[1:-1], *list(heads.biases)[1:-1]]
        return [Group(self.net.body.parameters(), 1.0, 0.0), Group(old, head_rate, 0.0), Group(new, head_rate)]

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        logits, settings = outputs.logits.float(), self.settings
        positive = settings.first_positive if self.teacher is None else 1.0
        terms = {
            "binary": labelled_binary(logits, batch.target, batch.labelled, positive),
            "auxiliary": settings.auxiliary * functional.softplus(logits[:, 0]).mean(),
        }
        if self.teacher is None:
            return terms
        old = self._teach(batch.images)
        terms["distillation"] = settings.distillation * _binary_distillation(
            logits[:, 1 : self.known], old.logits[:, 1:].float()
        )
        parts = zip(
            decomposed(self.net.heads, outputs.features), decomposed(self.teacher.heads, old.features), strict=True
        )
        distances = [_binary_distillation(new[:, : self.known - 1].float(), target.float()) for new, target in parts]
        terms["decomposed"] = settings.decomposed * torch.stack(distances).sum()
        return terms

    def scores(self, images: Tensor) -> Tensor:
        """Return the outputs, and one half for the background."""
        scores: Tensor = self.net(images).logits.sigmoid()
        return torch.cat([torch.full_like(scores[:, :1], 0.5), scores[:, 1:]], dim=1)


def labelled_binary(
    logits: Float[Tensor, "n classes height width"], target: Tensor, labelled: Tensor, positive: float = 1.0
) -> Float[Tensor, ""]:
    """Return the binary cross-entropies of the labelled classes of a mask, summed over classes, mean over pixels.

    Args:
        logits: One output for each channel.
        target: Channels; ignored pixels count as 0.
        labelled: Whether the mask of an image labels a channel.
        positive: Weight of pixels of the class itself.
    """
    valid = target != IGNORE
    expected = one_hot_channels(target.where(valid, 0), logits.shape[1]).float()
    weight = torch.tensor(positive, device=logits.device)
    losses = functional.binary_cross_entropy_with_logits(logits, expected, reduction="none", pos_weight=weight)
    summed = (losses * to_device(labelled, losses.device)[:, :, None, None]).sum(dim=1)
    return (summed * valid).sum() / valid.numel()


def _binary_distillation(logits: Tensor, old: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, old.sigmoid())
