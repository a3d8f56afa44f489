"""DKD-M: decomposed knowledge distillation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.segmentation.learner import Group, SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.network import GrowingHeads, Seen, SegmentationNet, enlarged
from myosotis.data.masks import IGNORE
from myosotis.engine.method import MethodCard, NotNegative, Positive


def decomposed(heads: GrowingHeads, features: Float[Tensor, "n features h w"]) -> tuple[Tensor, Tensor]:
    """Return what positive and what negative weights add to the logits of every class but the first, without biases."""
    weight = torch.cat(list(heads.weights))[1:, :, None, None]
    return functional.conv2d(features, weight.clamp(min=0)), functional.conv2d(features, weight.clamp(max=0))


class _AuxiliaryNet(SegmentationNet):
    """Whose block 0 looks at features that it cannot change."""

    def forward(self, images: Tensor) -> Seen:
        """Return logits; channel 0 is the auxiliary one."""
        features, maps = self.body(images)
        bare = features.detach()
        weight, bias = self.heads.weights[0], self.heads.biases[0]
        auxiliary = functional.conv2d(bare, weight[:, :, None, None], bias)
        logits = torch.cat([auxiliary, self.heads(features)[:, 1:]], dim=1)
        return Seen(enlarged(logits, images, self.body.multiple), logits, features, maps)


@dataclass(frozen=True)
class DKDMSettings:
    """How DKD-M weighs its terms.

    Attributes:
        distillation: Weight of the distillation of answers.
        decomposed: Weight of those of their positive and their negative parts, each.
        auxiliary: Weight of the auxiliary output, which is taught to say no.
        first_positive: How much more a pixel of a class weighs than one of none, in the first task.
    """

    distillation: NotNegative = 5.0
    decomposed: NotNegative = 5.0
    auxiliary: NotNegative = 1.0
    first_positive: Positive = 2.0


class DKDM(SegmentationLearner[DKDMSettings]):
    """Independent outputs; old ones are distilled as they are and in their positive and negative parts.

    New heads begin as an auxiliary one that has learnt to say no everywhere, without gradient to the features. An
    answer is the strongest class above one half, else background. Exemplars teach the outputs that they show.
    """

    card = MethodCard(
        "dkd_m",
        "DKD-M",
        "Baek, Oh, Lee, Lee, Ham, NeurIPS 2022",
        "current task, exemplars",
        "exemplars with their masks, the old network",
        "Independent outputs that may still change.",
    )
    Settings = DKDMSettings
    reads_memory = True

    def build(self, seed: int) -> nn.Module:
        """Return a network whose channel 0 is auxiliary."""
        return _AuxiliaryNet(self._make_body(seed))

    def before_task(self, task: SegmentationState) -> None:
        """Let new heads begin as the auxiliary one."""
        super().before_task(task)
        if task.number:
            with torch.no_grad():
                heads = self.net.heads
                heads.weights[-1].copy_(heads.weights[0].expand_as(heads.weights[-1]))
                heads.biases[-1].copy_(heads.biases[0].expand_as(heads.biases[-1]))

    def groups(self, task: SegmentationState, head_rate: float) -> list[Group]:
        """Return everything; what is old without weight decay after the first task."""
        if not task.number:
            return super().groups(task, head_rate)
        heads = self.net.heads
        new = [heads.weights[0], heads.biases[0], heads.weights[-1], heads.biases[-1]]
        old = [*list(heads.weights)[1:-1], *list(heads.biases)[1:-1]]
        return [Group(self.net.body.parameters(), 1.0, 0.0), Group(old, head_rate, 0.0), Group(new, head_rate)]

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the terms."""
        seen = net(batch.images)
        logits, settings = seen.logits.float(), self.settings
        positive = settings.first_positive if self.teacher is None else 1.0
        terms = {
            "binary": labelled_binary(logits, batch.target, batch.labelled, positive),
            "auxiliary": settings.auxiliary * functional.softplus(logits[:, 0]).mean(),
        }
        if self.teacher is None:
            return terms
        old = self._teach(batch.images)
        terms["distillation"] = settings.distillation * _answers(logits[:, 1 : self.known], old.logits[:, 1:].float())
        parts = zip(
            decomposed(self.net.heads, seen.features), decomposed(self.teacher.heads, old.features), strict=True
        )
        both = [_answers(one[:, : self.known - 1].float(), other.float()) for one, other in parts]
        terms["decomposed"] = settings.decomposed * torch.stack(both).sum()
        return terms

    def scores(self, images: Tensor) -> Tensor:
        """Return the outputs, and one half for the background."""
        found: Tensor = self.net(images).logits.sigmoid()
        return torch.cat([torch.full_like(found[:, :1], 0.5), found[:, 1:]], dim=1)


def labelled_binary(
    logits: Float[Tensor, "n classes height width"], target: Tensor, labelled: Tensor, positive: float = 1.0
) -> Float[Tensor, ""]:
    """Return the binary cross-entropies of the classes that a mask labels, summed over these, the mean over pixels.

    Args:
        logits: One output for each channel.
        target: Channels; ignored pixels count as 0.
        labelled: For each image, which channels its mask shows.
        positive: Weight of pixels of the class itself.
    """
    valid = target != IGNORE
    wanted = functional.one_hot(target.where(valid, 0), logits.shape[1]).movedim(-1, 1).float()
    weight = torch.tensor(positive, device=logits.device)
    losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none", pos_weight=weight)
    shown = (losses * labelled[:, :, None, None]).sum(dim=1)
    return (shown * valid).sum() / valid.numel()


def _answers(logits: Tensor, old: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, old.sigmoid())
