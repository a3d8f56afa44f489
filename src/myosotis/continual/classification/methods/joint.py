"""Joint training: all data so far, again with every task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed


@dataclass(frozen=True)
class JointSettings:
    """Settings of joint training.

    Attributes:
        from_scratch: Whether each task starts from new weights; otherwise from those of the previous task.
    """

    from_scratch: bool = True


class Joint(Learner[JointSettings]):
    """``L = CE(z, y)`` on the training samples of all tasks so far: the upper bound."""

    card = MethodCard(
        "joint",
        "Joint training",
        "the usual upper bound",
        "all tasks so far",
        "the whole data set",
        "The accuracy that can be reached with all data.",
    )
    Settings = JointSettings
    reads_memory = False
    reads_past = True

    def before_task(self, task: TaskState) -> None:
        """Replace the network by a new one, unless ``from_scratch`` is off."""
        if not self.settings.from_scratch:
            self.grow(task.number, task.new)
            return
        device = next(self.net.parameters()).device
        self.net = self.build(derive_seed(self.seed, "joint", task.number)).to(device)
        for number, size in enumerate(task.sizes):
            self.grow(number, size)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield one training on the samples of all tasks so far."""
        yield Stage("learn", task.all_so_far, self.replayed(task), self.loss)

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(net(batch.images).logits, batch.labels)}
