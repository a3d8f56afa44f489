"""What a self-supervised loss is made of, for the continual methods over it."""

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
    """A batch and what was made of it, of all processes.

    Attributes:
        views: Of this process, what the network has seen.
        samples: Numbers of the samples.
        out: Of the network.
        keys: Of the momentum copy, where the base has one.
    """

    views: Pair
    samples: Int[Tensor, " batch"]
    out: Outputs
    keys: Pair | None


class Base(nn.Module, ABC, Generic[SettingsT]):
    """A self-supervised loss with what it keeps beside the network: a momentum copy, a queue. All is in its state dict.

    Args:
        settings: Of the base.
    """

    card: ClassVar[MethodCard]
    Settings: ClassVar[type[Any]]
    distillation: ClassVar[Distillation]
    """The form that a distillation of it takes."""
    unit: ClassVar[bool] = False
    """Whether its embeddings are compared as unit vectors, and a distiller reads them so."""
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
        """Of embeddings."""

    @property
    def distillation_options(self) -> DistillationOptions:
        """Settings that a distillation of this form shares with the loss; by default none."""
        return {}

    @abstractmethod
    def projector(self, width: int) -> nn.Module:
        """Return a new projector for so many features."""

    def predictor(self) -> nn.Module | None:
        """Return a new predictor; by default there is none."""
        return None

    @abstractmethod
    def loss(self, step: Step) -> Float[Tensor, ""]:
        """Return the loss of a batch; nothing is changed by it."""

    def attach(self, net: SslNetwork) -> None:
        """Make what stands beside a network; by default there is nothing."""

    def begin_task(self, batches: Iterable[tuple[Pair, Int[Tensor, " batch"]]], generator: torch.Generator) -> None:
        """Get ready for a task; ``batches`` of its views and samples may be looked at, ``generator`` is for draws."""

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless batches of so many samples suit."""
        if batch < 2:
            raise SettingsError("a batch needs at least two samples: there is nothing to tell one from")

    def keys(self, views: Pair) -> Pair | None:
        """Return what the momentum copy makes of views, of this process alone."""
        return None if self.target is None else (self.target(views[0]), self.target(views[1]))

    def after(self, step: Step) -> None:
        """Take a batch in, once its loss has been computed."""
        if self.queue is not None and step.keys is not None:
            self.queue.push(step.keys, step.samples)

    def momentum(self) -> tuple[float, float] | None:
        """Return the momentum at the beginning and at the end of a task."""
        return None

    def after_update(self, net: SslNetwork, progress: float) -> None:
        """Let the momentum copy follow; ``progress`` is the share of the task's steps made before this one."""
        bounds = self.momentum()
        if self.target is not None and bounds is not None:
            self.target.follow(net.encoder, net.projector, momentum_at(progress, *bounds))


def gathered_step(views: Pair, samples: Tensor, out: Outputs, keys: Pair | None) -> Step:
    """Return a step with the rows of all processes."""

    def both(pair: Pair | None) -> Pair | None:
        return None if pair is None else (gathered(pair[0]), gathered(pair[1]))

    every = Outputs(*(both(pair) for pair in out))  # type: ignore[arg-type]
    return Step(views, gathered(samples), every, both(keys))
