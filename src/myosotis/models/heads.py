"""Heads that grow: rows of old classes stay, rows of new classes are appended."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class GrowingHead(nn.Module, ABC):
    """Head from features to one logit for each known class."""

    weight: nn.Parameter
    scale: nn.Parameter

    @property
    def factor(self) -> Tensor:
        """The positive scale of heads that have one; a negative scale would reverse a margin."""
        return self.scale.abs()

    @property
    def num_classes(self) -> int:
        """Number of classes so far."""
        return len(self.weight)

    @abstractmethod
    def grow(self, count: int, generator: torch.Generator) -> None:
        """Append rows for ``count`` new classes, initialised like a fresh layer; old rows keep their values."""

    def _append(self, name: str, rows: Tensor) -> None:
        old: Tensor = getattr(self, name)
        setattr(self, name, nn.Parameter(torch.cat([old.detach(), rows.to(old)])))


class LinearHead(GrowingHead):
    """A linear layer.

    Args:
        num_features: Number of features, d.

    Example:
        >>> head = LinearHead(4)
        >>> head.grow(2, torch.Generator())
        >>> head.grow(3, torch.Generator())
        >>> head(torch.rand(7, 4)).shape
        torch.Size([7, 5])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, num_features))
        self.bias = nn.Parameter(torch.empty(0))

    def grow(self, count: int, generator: torch.Generator) -> None:
        bound = 1 / math.sqrt(self.weight.shape[1])
        self._append("weight", _uniform((count, self.weight.shape[1]), bound, generator))
        self._append("bias", _uniform((count,), bound, generator))

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        return functional.linear(features, self.weight, self.bias)


class CosineHead(GrowingHead):
    """The cosine between features and each class's vector, times a learned scale (Hou et al., LUCIR, CVPR 2019).

    Args:
        num_features: Number of features, d.
        scale: Initial scale.

    Attributes:
        frozen: Number of first rows that get no gradient.
    """

    def __init__(self, num_features: int, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, num_features))
        self.scale = nn.Parameter(torch.tensor(float(scale)))
        self.frozen = 0

    def grow(self, count: int, generator: torch.Generator) -> None:
        shape = (count, self.weight.shape[1])
        self._append("weight", _uniform(shape, 1 / math.sqrt(shape[1]), generator))

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """Return the scaled cosines."""
        # Weight decay still shortens frozen vectors, of which only the direction counts.
        rows = torch.cat([self.weight[: self.frozen].detach(), self.weight[self.frozen :]])
        return self.factor * functional.linear(functional.normalize(features, dim=1), functional.normalize(rows, dim=1))


class ProxyHead(GrowingHead):
    """Several vectors for each class, the nearest of which count most (Douillard et al., PODNet, ECCV 2020).

    The similarity to a class is the mean of its proxies' cosines, weighted by their softmax.

    Args:
        num_features: Number of features, d.
        proxies: Number of vectors per class.
        scale: Initial value of the learned scale.
    """

    def __init__(self, num_features: int, proxies: int = 10, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, proxies, num_features))
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def grow(self, count: int, generator: torch.Generator) -> None:
        _, proxies, width = self.weight.shape
        self._append("weight", _uniform((count, proxies, width), 1 / math.sqrt(width), generator))

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """Return the scaled similarities."""
        vectors = functional.normalize(self.weight, dim=2).flatten(0, 1)
        cosines = functional.linear(functional.normalize(features, dim=1), vectors)
        near = cosines.view(len(features), *self.weight.shape[:2])
        return self.factor * (near.softmax(dim=2) * near).sum(dim=2)


def _uniform(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(shape, generator=generator) - 1) * bound
