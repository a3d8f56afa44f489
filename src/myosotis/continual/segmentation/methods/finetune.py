"""Fine-tuning: what everything else is measured against; with pseudo-labels, if asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner
from myosotis.continual.segmentation.pseudo_labels import pseudo_label
from myosotis.engine.method import MethodCard, Share


@dataclass(frozen=True)
class FinetuneSettings:
    """How fine-tuning labels the background.

    Attributes:
        pseudo_labels: Whether the old network labels background of which it is sure.
        threshold: Its least probability then.
    """

    pseudo_labels: bool = False
    threshold: Share = 0.7


class Finetune(SegmentationLearner[FinetuneSettings]):
    """``L = CE(z, y)`` on the masks that the task shows, in which old and future classes are background."""

    card = MethodCard(
        "finetune",
        "Fine-tuning",
        "the usual lower bound; pseudo-labels as in Lee, 2013",
        "current task",
        "none; the old network with pseudo-labels",
        "To see what is forgotten when nothing is done about it.",
    )
    Settings = FinetuneSettings

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the cross-entropy."""
        target = batch.target
        if self.teacher is not None and self.settings.pseudo_labels:
            probabilities = self._teach(batch.images).logits.softmax(dim=1)
            target = pseudo_label(target, probabilities, probabilities.amax(dim=1) >= self.settings.threshold)
        return {"cross_entropy": self.plain(net(batch.images).logits, target)}
