"""MoCo v2+: contrast with a queue of what a momentum copy said, in both directions."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, Pair, Reset, nce, unit_pair
from myosotis.continual.selfsupervised.gather import gathered_pair
from myosotis.continual.selfsupervised.momentum import MomentumCopy
from myosotis.continual.selfsupervised.network import SslNetwork, perceptron
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import Count, MethodCard, Positive, Share


@dataclass(frozen=True)
class MoCoSettings:
    """How MoCo compares.

    Attributes:
        temperature: τ.
        dim: Of embeddings.
        hidden: Width of the projector.
        queue: Embeddings of each view; choose fewer than a task has images, or a sample meets itself.
        queue_reset: What becomes of it when a task begins; ``"carry"`` is a replay of old embeddings.
        momentum: At the beginning of a task.
        final_momentum: At its end.
        exclude_same_sample: Whether earlier embeddings of the same sample do not count as negatives.
    """

    temperature: Positive = 0.2
    dim: Count = 128
    hidden: Count = 2048
    queue: Count = 65536
    queue_reset: Reset = "carry"
    momentum: Share = 0.99
    final_momentum: Share = 0.999
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
        """Of embeddings."""
        return self.settings.dim

    def projector(self, width: int) -> nn.Module:
        """Return two linear layers."""
        return perceptron(width, self.settings.hidden, self.settings.dim, norm=False)

    def attach(self, net: SslNetwork) -> None:
        """Make copy and queue."""
        self.target = MomentumCopy(net.encoder, net.projector)
        self.queue = EmbeddingQueue(self.settings.queue, self.settings.dim)

    def begin_task(self, batches: Iterable[tuple[Pair, Int[Tensor, " batch"]]], generator: torch.Generator) -> None:
        """Treat the queue as the settings say; every process has the keys of all."""
        assert self.queue is not None  # noqa: S101 - attached
        some = (gathered_pair(self.keys(views), samples) for views, samples in batches)
        self.queue.reset(self.settings.queue_reset, some, generator)

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless batches of so many samples suit."""
        super().check_batch(batch)
        if batch > self.settings.queue:
            raise SettingsError(f"a queue of {self.settings.queue} is smaller than a batch of {batch}")

    def keys(self, views: Pair) -> Pair | None:
        """Return unit vectors."""
        found = super().keys(views)
        return None if found is None else unit_pair(found)

    def momentum(self) -> tuple[float, float]:
        """Return both ends."""
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
