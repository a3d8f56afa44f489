"""A copy of a network that follows its weights slowly."""

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class MomentumCopy(nn.Module):
    """Encoder and projector whose weights are an exponential average of the trained ones.

    Its batch normalisation stays in training mode, as in the papers; it never receives a single image. Buffers are its
    own.

    Args:
        encoder: Network from images to features.
        projector: Network from features to embeddings.
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = copy.deepcopy(encoder), copy.deepcopy(projector)
        self.requires_grad_(requires_grad=False)
        self.train()

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n dim"]:
        """Return embeddings."""
        embeddings: Tensor = self.projector(self.encoder(images))
        return embeddings

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module, momentum: float) -> None:
        """Move every weight to ``momentum * own + (1 - momentum) * theirs``."""
        pairs = ((self.encoder, encoder), (self.projector, projector))
        own: list[Tensor] = [weight for mine, _ in pairs for weight in mine.parameters()]
        theirs: list[Tensor] = [weight for _, other in pairs for weight in other.parameters()]
        torch._foreach_lerp_(own, theirs, 1 - momentum)


def momentum_at(progress: float, begin: float, end: float) -> float:
    """Return the momentum of a task, which goes from ``begin`` to ``end`` along a cosine.

    Args:
        progress: Share of the task's steps so far.
        begin: Momentum at 0.
        end: Momentum at 1.

    Example:
        >>> [round(momentum_at(share, 0.99, 0.999), 4) for share in (0, 0.5, 1)]
        [0.99, 0.9945, 0.999]
    """
    return end - (end - begin) * (math.cos(math.pi * progress) + 1) / 2
