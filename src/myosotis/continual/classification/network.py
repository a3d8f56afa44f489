"""A backbone under a head that grows, and copies of it that stay as they are."""

import copy
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.models.backbone import Backbone
from myosotis.models.heads import GrowingHead

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class Outputs:
    """What a network says of a batch.

    Attributes:
        logits: One for each class seen so far, in the order of arrival.
        features: Below the head.
        maps: Of every stage.
        extra: What a method's own network adds.
    """

    logits: Float[Tensor, "n classes"]
    features: Float[Tensor, "n features"]
    maps: tuple[Tensor, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)


class IncrementalNet(nn.Module):
    """One backbone under one growing head.

    Args:
        backbone: The body.
        head: Without any class yet.
    """

    def __init__(self, backbone: Backbone, head: GrowingHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def grow(self, count: int, generator: torch.Generator) -> None:
        """Make room for new classes."""
        self.head.grow(count, generator)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return logits, features and maps."""
        seen = self.backbone(images)
        return Outputs(self.head(seen.features), seen.features, seen.maps)


def frozen_copy(module: ModuleT) -> ModuleT:
    """Return a copy in evaluation mode whose parameters want no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)
