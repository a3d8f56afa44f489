"""A backbone with a growing head, and frozen copies of it."""

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
    """Outputs of a network for a batch.

    Attributes:
        logits: Logits of all classes so far, in the order of arrival.
        features: Input of the head.
        maps: Feature maps of each stage.
        extra: Further outputs of a method's own network.
    """

    logits: Float[Tensor, "n classes"]
    features: Float[Tensor, "n features"]
    maps: tuple[Tensor, ...] = ()
    extra: dict[str, Tensor] = field(default_factory=dict)


class IncrementalNet(nn.Module):
    """A backbone with a growing head.

    Args:
        backbone: Backbone.
        head: Head without classes.
    """

    def __init__(self, backbone: Backbone, head: GrowingHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def grow(self, count: int, generator: torch.Generator) -> None:
        """Add new classes to the head."""
        self.head.grow(count, generator)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return logits, features and maps."""
        outputs = self.backbone(images)
        return Outputs(self.head(outputs.features), outputs.features, outputs.maps)


def frozen_copy(module: ModuleT) -> ModuleT:
    """Return a copy in evaluation mode whose parameters require no gradient."""
    return copy.deepcopy(module).eval().requires_grad_(False)
