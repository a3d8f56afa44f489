"""MiB: modelling the background."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner
from myosotis.continual.segmentation.losses import group_cross_entropy, unbiased_distillation
from myosotis.engine.method import MethodCard, NotNegative, Positive


@dataclass(frozen=True)
class MiBSettings:
    """How MiB weighs its terms.

    Attributes:
        distillation: Weight of the unbiased distillation; 10 belongs to thirty epochs a task.
        alpha: Sharpens the old network's answer.
    """

    distillation: NotNegative = 10.0
    alpha: Positive = 1.0


class MiB(SegmentationLearner[MiBSettings]):
    """``L = UCE(z, y) + λ UKD(z, z')``: background may be old for the labels and new for the old network.

    Subclasses that remember images say in :meth:`remembered` what their masks label; both kinds then weigh one half.
    """

    card = MethodCard(
        "mib",
        "MiB",
        "Cermelli, Mancini, Rota Bulò, Ricci, Caputo, CVPR 2020",
        "current task",
        "the old network",
        "The common ground of most methods; no exemplars.",
    )
    Settings = MiBSettings
    balanced_start = True

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return both terms; in the first task there is one."""
        logits, count = net(batch.images).logits, batch.n_current
        new = batch.labelled[:count]
        terms = {"unbiased": group_cross_entropy(logits[:count], batch.target[:count], new)}
        if self.teacher is None:
            return terms
        if batch.n_remembered:
            terms["unbiased"] = terms["unbiased"] / 2
            terms["memory"] = group_cross_entropy(logits[count:], batch.target[count:], self.remembered(batch)) / 2
        old = self._teach(batch.images).logits
        kept = unbiased_distillation(logits[:count], old[:count], self.settings.alpha)
        if batch.n_remembered:
            kept = (kept + unbiased_distillation(logits[count:], old[count:], self.settings.alpha)) / 2
        terms["distillation"] = self.settings.distillation * kept
        return terms

    def remembered(self, batch: SegmentationBatch) -> Bool[Tensor, "remembered classes"]:
        """Return what masks of remembered images are taken to label; plainly, all classes."""
        return self.all_labelled(batch.n_remembered, batch.images.device)
