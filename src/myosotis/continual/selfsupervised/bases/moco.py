"""MoCo v2+: contrast with a queue of a momentum copy's embeddings, in both directions."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, Pair, Reset, nce, unit_pair
from myosotis.continual.selfsupervised.gather import gathered_pair
from myosotis.continual.selfsupervised.momentum import MomentumCopy
from myosotis.continual.selfsupervised.network import SslNetwork, perceptron
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import Fraction, MethodCard


@dataclass(frozen=True)
class MoCoSettings:
    """Settings of MoCo.

    Attributes:
        temperature: Temperature τ of the contrastive loss.
        dim: Number of entries of an embedding.
        hidden: Width of the projector.
        queue: Number of embeddings of each view; fewer than the images of a task, or a sample is its own negative.
        queue_reset: Treatment of the queue when a task begins; ``"carry"`` replays old embeddings.
        momentum: Momentum at the start of a task.
        final_momentum: Momentum at its end.
        exclude_same_sample: Whether earlier embeddings of the same sample do not count as negatives.
    """

    temperature: PositiveFloat = 0.2
    dim: PositiveInt = 128
    hidden: PositiveInt = 2048
    queue: PositiveInt = 65536
    queue_reset: Reset = "carry"
    momentum: Fraction = 0.99
    final_momentum: Fraction = 0.999
    exclude_same_sample: bool = False


class MoCo(Base[MoCoSettings]):
    """``½ [NCE(q_A, k_B; N_B) + NCE(q_B, k_A; N_A)]``, keys k of the momentum copy and N earlier ones."""

    card = MethodCard(
        "moco",
        "MoCo v2+",
        "Chen, Fan, Girshick, He, arXiv 2003.04297, symmetric",
        "two views",
        "a momentum copy, a queue",
        "Contrast that does not need large batches.",
    )
    Settings = MoCoSettings
    distillation = "contrastive"
    unit = True

    @property
    def dim(self) -> int:
        return self.settings.dim

    def projector(self, width: int) -> nn.Module:
        """Return two linear layers."""
        return perceptron(width, self.settings.hidden, self.settings.dim, norm=False)

    def attach(self, net: SslNetwork) -> None:
        self.target = MomentumCopy(net.encoder, net.projector)
        self.queue = EmbeddingQueue(self.settings.queue, self.settings.dim)

    def begin_task(self, batches: Iterable[tuple[Pair, Int[Tensor, " batch"]]], generator: torch.Generator) -> None:
        """Reset the queue by ``queue_reset``; every process has the keys of all."""
        assert self.queue is not None  # noqa: S101 - attached
        keys = (gathered_pair(self.keys(views), samples) for views, samples in batches)
        self.queue.reset(self.settings.queue_reset, keys, generator)

    def check_batch(self, batch: int) -> None:
        super().check_batch(batch)
        if batch > self.settings.queue:
            raise SettingsError(f"a queue of {self.settings.queue} is smaller than a batch of {batch}")

    def keys(self, views: Pair) -> Pair | None:
        """Return unit vectors."""
        keys = super().keys(views)
        return None if keys is None else unit_pair(keys)

    def momentum(self) -> tuple[float, float]:
        """Return the momentum at the start and at the end of a task."""
        return self.settings.momentum, self.settings.final_momentum

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """Return the mean of both directions."""
        assert self.queue is not None  # noqa: S101 - attached
        assert step.keys is not None  # noqa: S101 - there is a copy
        q, keys = unit_pair(step.out.embeddings), step.keys
        excluded = self.queue.same(step.samples) if self.settings.exclude_same_sample else None
        one = nce(q[0], keys[1], self.queue.negatives(1), self.settings.temperature, excluded)
        other = nce(q[1], keys[0], self.queue.negatives(0), self.settings.temperature, excluded)
        return (one + other) / 2
