"""Fine-tuning: the lower bound; optionally with pseudo-labels."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner
from myosotis.continual.segmentation.pseudo_labels import pseudo_label
from myosotis.engine.method import Fraction, MethodCard


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of fine-tuning.

    Attributes:
        pseudo_labels: Whether the old network labels background that it is confident about.
        threshold: Least probability of a pseudo-label.
    """

    pseudo_labels: bool = False
    threshold: Fraction = 0.7


class Finetune(SegmentationLearner[FinetuneSettings]):
    """``L = CE(z, y)`` on the masks of the task, in which old and future classes are background."""

    card = MethodCard(
        "finetune",
        "Fine-tuning",
        "the usual lower bound; pseudo-labels as in Lee, 2013",
        "current task",
        "none; the old network with pseudo-labels",
        "Training without any measure against forgetting.",
    )
    Settings = FinetuneSettings

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        target = batch.target
        if self.teacher is not None and self.settings.pseudo_labels:
            probabilities = self._teach(batch.images).logits.softmax(dim=1)
            target = pseudo_label(target, probabilities, probabilities.amax(dim=1) >= self.settings.threshold)
        return {"cross_entropy": self.plain(net(batch.images).logits, target)}
