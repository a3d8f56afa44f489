"""The network after the previous task."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn


class PastModel(nn.Module):
    """A frozen copy of encoder and projector, which stays in evaluation mode in every mode of its parent.

    Released code sets the mode once and lets a validation loop flip it back, so that batch statistics of the copy
    drift while it is a teacher. Weights and statistics are in the state dict: a resumed task has the same teacher.

    Args:
        encoder: Network from images to features.
        projector: Network from features to embeddings.
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module) -> None:
        super().__init__()
        self.encoder, self.projector = copy.deepcopy(encoder), copy.deepcopy(projector)
        self.requires_grad_(requires_grad=False)
        self.train(mode=False)

    def train(self, mode: bool = True) -> "PastModel":  # noqa: ARG002 - the mode never changes
        """Stay in evaluation mode."""
        super().train(mode=False)
        return self

    @torch.no_grad()
    def forward(self, images: Float[Tensor, "n channels height width"]) -> tuple[Tensor, Tensor]:
        """Return features and embeddings, neither normalised."""
        features: Tensor = self.encoder(images)
        return features, self.projector(features)
