"""MiB: modelling the background."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner
from myosotis.continual.segmentation.losses import group_cross_entropy, unbiased_distillation
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class MiBSettings:
    """Settings of MiB.

    Attributes:
        distillation: Weight of the unbiased distillation; 10 is for thirty epochs per task.
        alpha: Factor that sharpens the prediction of the old network.
    """

    distillation: NonNegativeFloat = 10.0
    alpha: PositiveFloat = 1.0


class MiB(SegmentationLearner[MiBSettings]):
    """``L = UCE(z, y) + λ UKD(z, z')``: the background may be an old class for the labels, and a new one for the
    old network.

    Subclasses with a memory return in :meth:`remembered` what the masks of exemplars label; current and remembered
    images then weigh one half each.
    """

    card = MethodCard(
        "mib",
        "MiB",
        "Cermelli, Mancini, Rota Bulò, Ricci, Caputo, CVPR 2020",
        "current task",
        "the old network",
        "The basis of most methods; no exemplars.",
    )
    Settings = MiBSettings
    balanced_start = True

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return both terms; the first task has one."""
        logits, count = net(batch.images).logits, batch.n_current
        new = batch.labelled[:count]
        terms = {"unbiased": group_cross_entropy(logits[:count], batch.target[:count], new)}
        if self.teacher is None:
            return terms
        if batch.n_remembered:
            terms["unbiased"] = terms["unbiased"] / 2
            terms["memory"] = group_cross_entropy(logits[count:], batch.target[count:], self.remembered(batch)) / 2
        old = self._teach(batch.images).logits
        distilled = unbiased_distillation(logits[:count], old[:count], self.settings.alpha)
        if batch.n_remembered:
            distilled = (distilled + unbiased_distillation(logits[count:], old[count:], self.settings.alpha)) / 2
        terms["distillation"] = self.settings.distillation * distilled
        return terms

    def remembered(self, batch: SegmentationBatch) -> Bool[Tensor, "remembered classes"]:
        """Return the channels that masks of remembered images label; by default all classes."""
        return self.all_labelled(batch.n_remembered)
