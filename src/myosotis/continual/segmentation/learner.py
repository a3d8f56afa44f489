"""What every method of class-incremental segmentation is made of: a few short hooks around one training loop."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from myosotis.continual.segmentation.losses import group_cross_entropy
from myosotis.continual.segmentation.network import Seen, SegmentationNet, init_new_heads
from myosotis.continual.stream import SettingsT, StreamLearner
from myosotis.engine.seeding import generator
from myosotis.models.segmenter import SegmentationBody


@dataclass(frozen=True)
class SegmentationBatch:
    """Images of the current task, then remembered ones.

    Attributes:
        images: In [0, 1], augmented.
        target: Channels, 0 for the background, 255 where a pixel does not count.
        labelled: For each image, which channels its mask shows where they are.
        n_current: How many come from the current task.
    """

    images: Float[Tensor, "n channels height width"]
    target: Int[Tensor, "n height width"]
    labelled: Bool[Tensor, "n classes"]
    n_current: int

    @property
    def n_remembered(self) -> int:
        """How many come from the memory."""
        return len(self.images) - self.n_current


@dataclass(frozen=True)
class SegmentationState:
    """A task, and what may be looked at while it is learnt.

    Attributes:
        sizes: Classes of each task so far; the last is this one.
        batches: Yields its training images without augmentation, as batches without remembered ones, on the device.
        seed: Of every random choice.
    """

    sizes: tuple[int, ...]
    batches: Callable[[], Iterator[SegmentationBatch]]
    seed: int

    @property
    def number(self) -> int:
        """Of the task, from 0."""
        return len(self.sizes) - 1

    @property
    def new(self) -> int:
        """Classes of this task."""
        return self.sizes[-1]

    @property
    def known(self) -> int:
        """Channels before this task, background among them."""
        return 1 + sum(self.sizes[:-1])

    @property
    def channels(self) -> int:
        """Channels now."""
        return 1 + sum(self.sizes)


@dataclass(frozen=True)
class Group:
    """Parameters that are trained, and how fast: as multiples of the task's learning rate and weight decay."""

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    decay: float = 1.0


class SegmentationLearner(StreamLearner[SettingsT]):
    """A method of class-incremental segmentation.

    Args:
        settings: Of the method.
        make_body: Returns a new body from a seed.
        seed: Of every random choice.
    """

    reads_memory: ClassVar[bool] = False
    """Whether remembered images are in its batches; they then are half of each."""
    sees_all: ClassVar[bool] = False
    """Whether every task trains on the images and labels of all tasks so far."""
    balanced_start: ClassVar[bool] = False
    """Whether new heads begin as the background's, see :func:`~.network.init_new_heads`."""

    def __init__(self, settings: SettingsT, make_body: Callable[[int], SegmentationBody], seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._make_body = make_body
        self.net: Any = self.build(seed)
        self.teacher: Any = None
        self.known, self.new = 1, 0

    def build(self, seed: int) -> nn.Module:
        """Return a new network without any class."""
        return SegmentationNet(self._make_body(seed))

    def grow(self, number: int, count: int) -> None:
        """Give the network the shape that it has in task ``number``, which brings ``count`` classes."""
        self.net.heads.grow(count, generator(self.seed, "head", number))
        self.known, self.new = self.known + self.new, count

    def before_task(self, task: SegmentationState) -> None:
        """Get ready: by default keep a copy of the network as it is, then let its heads grow."""
        self.teacher = copy.deepcopy(self.net).eval().requires_grad_(False) if task.number else None
        self.grow(task.number, task.new)
        if task.number and self.balanced_start:
            init_new_heads(self.net.heads)

    def groups(self, task: SegmentationState, head_rate: float) -> list[Group]:  # noqa: ARG002 - for subclasses
        """Return what is trained; by default everything, heads at ``head_rate`` times the rate of the body."""
        return [Group(self.net.body.parameters()), Group(self.net.heads.parameters(), head_rate)]

    def train_mode(self, task: SegmentationState) -> None:  # noqa: ARG002 - for subclasses
        """Put the network into the mode that it trains in."""
        self.net.train()

    @abstractmethod
    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the named terms whose sum is minimised.

        Args:
            net: The network, wrapped where several processes share the work.
            batch: Current images first; one forward pass takes all of them.
        """

    def after_task(self, task: SegmentationState) -> None:
        """Look back. By default there is nothing to do."""

    def scores(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes height width"]:
        """Return a score for each channel, background first; the network is in evaluation mode."""
        logits: Tensor = self.net(images).logits
        return logits

    def task_state(self) -> dict[str, Tensor]:
        """Return what :meth:`before_task` measured, for a task that is resumed in its middle."""
        return {}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`task_state` returned."""

    def all_labelled(self, rows: int, device: torch.device) -> Bool[Tensor, "rows classes"]:
        """Every class, for plain cross-entropy."""
        found = torch.ones(rows, self.known + self.new, dtype=torch.bool, device=device)
        found[:, 0] = False
        return found

    def plain(self, logits: Tensor, target: Tensor) -> Tensor:
        """Plain cross-entropy, in which the background is the background."""
        return group_cross_entropy(logits, target, self.all_labelled(len(logits), logits.device))

    def _teach(self, images: Tensor) -> Seen:
        """What the old network says; asked once a batch."""
        with torch.no_grad():
            found: Seen = self.teacher(images)
        return found
