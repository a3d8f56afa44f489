"""The interface of methods of class-incremental segmentation: a few hooks around one training loop."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from myosotis.continual.segmentation.losses import group_cross_entropy
from myosotis.continual.segmentation.network import Outputs, SegmentationNet, init_new_heads
from myosotis.continual.stream import SettingsT, StreamLearner
from myosotis.engine.seeding import generator
from myosotis.models.segmenter import SegmentationBody


@dataclass(frozen=True)
class SegmentationBatch:
    """Images of the current task, then remembered ones.

    Attributes:
        images: Augmented images in [0, 1].
        target: Channels, 0 for the background, 255 for ignored pixels.
        labelled: Whether the mask of an image labels a channel; on the host, which reads it in every step.
        n_current: Number of images of the current task.
    """

    images: Float[Tensor, "n channels height width"]
    target: Int[Tensor, "n height width"]
    labelled: Bool[Tensor, "n classes"]
    n_current: int

    @property
    def n_remembered(self) -> int:
        """Number of images from the memory."""
        return len(self.images) - self.n_current


@dataclass(frozen=True)
class SegmentationState:
    """A task, and the data that a method may read while it learns it.

    Attributes:
        sizes: Number of classes of each task so far; the last entry is this task.
        batches: Function that yields batches of its training images without augmentation, on the device.
        seed: Seed of every random choice.
    """

    sizes: tuple[int, ...]
    batches: Callable[[], Iterator[SegmentationBatch]]
    seed: int

    @property
    def number(self) -> int:
        """Index of the task."""
        return len(self.sizes) - 1

    @property
    def new(self) -> int:
        """Number of classes of this task."""
        return self.sizes[-1]

    @property
    def known(self) -> int:
        """Number of channels before this task, with the background."""
        return 1 + sum(self.sizes[:-1])

    @property
    def channels(self) -> int:
        """Number of channels so far."""
        return 1 + sum(self.sizes)


@dataclass(frozen=True)
class Group:
    """Parameters that are trained, and multiples of the task's learning rate and weight decay."""

    parameters: Iterable[nn.Parameter]
    rate: float = 1.0
    decay: float = 1.0


class SegmentationLearner(StreamLearner[SettingsT]):
    """A method of class-incremental segmentation.

    Args:
        settings: Settings of the method.
        make_body: Function from a seed to a new body.
        seed: Seed of every random choice.
    """

    # In it gradients add up in another order by method, so that equal losses would not give equal weights.
    channels_last = False
    reads_memory: ClassVar[bool] = False
    """Whether half of each batch is remembered images."""
    sees_all: ClassVar[bool] = False
    """Whether every task trains on the images and labels of all tasks so far."""
    balanced_start: ClassVar[bool] = False
    """Whether new heads start from that of the background, see :func:`~.network.init_new_heads`."""

    def __init__(self, settings: SettingsT, make_body: Callable[[int], SegmentationBody], seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._make_body = make_body
        self.net: Any = self.build(seed)
        self.teacher: Any = None
        self.known, self.new = 1, 0

    def build(self, seed: int) -> nn.Module:
        """Return a new network without classes."""
        return SegmentationNet(self._make_body(seed))

    def grow(self, number: int, count: int) -> None:
        self.net.heads.grow(count, generator(self.seed, "head", number))
        self.known, self.new = self.known + self.new, count

    def before_task(self, task: SegmentationState) -> None:
        """Prepare the task: by default copy the old network, then let the heads grow."""
        self.teacher = copy.deepcopy(self.net).eval().requires_grad_(False) if task.number else None
        self.grow(task.number, task.new)
        if task.number and self.balanced_start:
            init_new_heads(self.net.heads)

    def groups(self, task: SegmentationState, head_rate: float) -> list[Group]:  # noqa: ARG002 - for subclasses
        """Return the parameters that are trained; by default all, heads at ``head_rate`` times the rate of the body."""
        return [Group(self.net.body.parameters()), Group(self.net.heads.parameters(), head_rate)]

    def train_mode(self, task: SegmentationState) -> None:  # noqa: ARG002 - for subclasses
        """Put the network into its mode for training."""
        self.net.train()

    @abstractmethod
    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the named terms whose sum is minimised.

        Args:
            net: Network, wrapped if there are several processes.
            batch: Current images, then remembered ones, for a single forward pass.
        """

    def after_task(self, task: SegmentationState) -> None:
        """Finish the task. By default there is nothing to do."""

    def scores(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes height width"]:
        """Return a score for each channel, background first; the network is in evaluation mode."""
        logits: Tensor = self.net(images).logits
        return logits

    def task_state(self) -> dict[str, Tensor]:
        """Return the tensors that :meth:`before_task` computed, to resume in the middle of a task."""
        return {}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`task_state` returned."""

    def all_labelled(self, rows: int) -> Bool[Tensor, "rows classes"]:
        """Return labels of every class, for plain cross-entropy, on the host."""
        labelled = torch.ones(rows, self.known + self.new, dtype=torch.bool)
        labelled[:, 0] = False
        return labelled

    def plain(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the plain cross-entropy, in which the background is a class."""
        return group_cross_entropy(logits, target, self.all_labelled(len(logits)))

    def _teach(self, images: Tensor) -> Outputs:
        """The outputs of the old network."""
        with torch.no_grad():
            outputs: Outputs = self.teacher(images)
        return outputs
