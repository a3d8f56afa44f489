"""Joint training: the images and labels of all tasks so far, again with every task."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed


@dataclass(frozen=True)
class JointSettings:
    """Settings of joint training.

    Attributes:
        from_scratch: Whether each task starts from new weights; otherwise from those of the previous task.
    """

    from_scratch: bool = True


class Joint(SegmentationLearner[JointSettings]):
    """``L = CE(z, y)`` on the images of all tasks so far with the labels of all classes so far: the upper bound."""

    card = MethodCard(
        "joint",
        "Joint training",
        "the usual upper bound",
        "all tasks so far, all labels",
        "the whole data set",
        "The accuracy that can be reached with all data.",
    )
    Settings = JointSettings
    sees_all = True

    def before_task(self, task: SegmentationState) -> None:
        """Replace the network by a new one, unless ``from_scratch`` is off."""
        if not self.settings.from_scratch:
            self.grow(task.number, task.new)
            return
        device = next(self.net.parameters()).device
        self.net = self.build(derive_seed(self.seed, "joint", task.number)).to(device)
        self.known, self.new = 1, 0
        for number, size in enumerate(task.sizes):
            self.grow(number, size)

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        return {"cross_entropy": self.plain(net(batch.images).logits, batch.target)}
