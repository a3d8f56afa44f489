"""Barlow Twins: embeddings whose entries agree between views and are not redundant."""

from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.cassle import DistillationOptions
from myosotis.continual.selfsupervised.losses import redundancy_reduction
from myosotis.continual.selfsupervised.network import perceptron
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class BarlowTwinsSettings:
    """Settings of Barlow Twins.

    Attributes:
        dim: Number of entries of an embedding.
        hidden: Width of the projector.
        off_diagonal: Weight of the correlations of different entries.
        scale: Factor of the loss.
    """

    dim: PositiveInt = 2048
    hidden: PositiveInt = 2048
    off_diagonal: PositiveFloat = 5e-3
    scale: PositiveFloat = 0.1


class BarlowTwins(Base[BarlowTwinsSettings]):
    """``scale * (sum_i (1 - C_ii)² + λ sum_{i != j} C_ij²)`` of the correlation C between views."""

    card = MethodCard(
        "barlow",
        "Barlow Twins",
        "Zbontar, Jing, Misra, LeCun, Deny, ICML 2021",
        "two views",
        "-",
        "Neither negatives nor a second network.",
    )
    Settings = BarlowTwinsSettings
    distillation = "barlow"

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def distillation_options(self) -> DistillationOptions:
        """Weight of the correlations and factor of the loss."""
        return {"off_diagonal": self.settings.off_diagonal, "scale": self.settings.scale}

    def projector(self, width: int) -> nn.Module:
        """Return three linear layers with normalisation."""
        return perceptron(width, self.settings.hidden, self.settings.dim, layers=3, norm=True)

    def loss(self, step: Step) -> Float[Tensor, ""]:
        return redundancy_reduction(*step.out.embeddings, **self.distillation_options)
