"""The interface of self-supervised losses, for the continual methods that use them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.selfsupervised.cassle import Distillation, DistillationOptions
from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, Pair
from myosotis.continual.selfsupervised.gather import gathered
from myosotis.continual.selfsupervised.momentum import MomentumCopy, momentum_at
from myosotis.continual.selfsupervised.network import Outputs, SslNetwork
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard

SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True)
class Step:
    """A batch and its outputs, of all processes.

    Attributes:
        views: Views of this process.
        samples: Indices of the samples.
        out: Outputs of the network.
        keys: Embeddings of the momentum copy; None without one.
    """

    views: Pair
    samples: Int[Tensor, " batch"]
    out: Outputs
    keys: Pair | None


class Base(nn.Module, ABC, Generic[SettingsT]):
    """A self-supervised loss, with its momentum copy and its queue, if any, in the state dict.

    Args:
        settings: Settings of the base.
    """

    card: ClassVar[MethodCard]
    Settings: ClassVar[type[Any]]
    distillation: ClassVar[Distillation]
    """The form of a distillation of its embeddings."""
    unit: ClassVar[bool] = False
    """Whether its embeddings are compared, and distilled, as unit vectors."""
    target: MomentumCopy | None
    queue: EmbeddingQueue | None

    def __init__(self, settings: SettingsT) -> None:
        super().__init__()
        self.settings = settings
        self.target = None
        self.queue = None

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of entries of an embedding."""

    @property
    def distillation_options(self) -> DistillationOptions:
        """Settings that a distillation of this form shares with the loss; by default none."""
        return {}

    @abstractmethod
    def projector(self, width: int) -> nn.Module:
        """Return a new projector for ``width`` features."""

    def predictor(self) -> nn.Module | None:
        """Return a new predictor; by default there is none."""
        return None

    @abstractmethod
    def loss(self, step: Step) -> Float[Tensor, ""]:
        """Return the loss of a batch, without changing any state."""

    def attach(self, net: SslNetwork) -> None:
        """Create momentum copy and queue for a network; by default there are none."""

    def begin_task(self, batches: Iterable[tuple[Pair, Int[Tensor, " batch"]]], generator: torch.Generator) -> None:
        """Prepare a task.

        Args:
            batches: Views and indices of its samples.
            generator: Generator of random numbers.
        """

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless batches of this size suit."""
        if batch < 2:
            raise SettingsError(f"a batch needs at least two samples, got {batch}")

    def keys(self, views: Pair) -> Pair | None:
        """Return the embeddings of the momentum copy for views of this process; None without one."""
        return None if self.target is None else (self.target(views[0]), self.target(views[1]))

    def after(self, step: Step) -> None:
        """Update the queue with a batch, after its loss has been computed."""
        if self.queue is not None and step.keys is not None:
            self.queue.push(step.keys, step.samples)

    def momentum(self) -> tuple[float, float] | None:
        """Return the momentum at the start and at the end of a task; None without a momentum copy."""
        return None

    def after_update(self, net: SslNetwork, progress: float) -> None:
        """Update the momentum copy; ``progress`` is the share of the task's steps before this one."""
        bounds = self.momentum()
        if self.target is not None and bounds is not None:
            self.target.follow(net.encoder, net.projector, momentum_at(progress, *bounds))


def gathered_step(views: Pair, samples: Tensor, out: Outputs, keys: Pair | None) -> Step:
    """Return a step with the rows of all processes."""

    def both(pair: Pair | None) -> Pair | None:
        return None if pair is None else (gathered(pair[0]), gathered(pair[1]))

    outputs = Outputs(*(both(pair) for pair in out))  # type: ignore[arg-type]
    return Step(views, gathered(samples), outputs, both(keys))
