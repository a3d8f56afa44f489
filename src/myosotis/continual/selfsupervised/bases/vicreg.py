"""VICReg: embeddings that agree between views, vary over the batch, and have uncorrelated entries."""

from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.losses import variance_invariance_covariance
from myosotis.continual.selfsupervised.network import perceptron
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class VICRegSettings:
    """How VICReg weighs.

    Attributes:
        dim: Number of entries of an embedding.
        hidden: Width of the projector.
        invariance: Weight of the difference between views.
        variance: Weight of what is missing to a deviation of 1.
        covariance: Weight of the covariances of different entries.
    """

    dim: PositiveInt = 2048
    hidden: PositiveInt = 2048
    invariance: PositiveFloat = 25.0
    variance: PositiveFloat = 25.0
    covariance: PositiveFloat = 1.0


class VICReg(Base[VICRegSettings]):
    """The weighted sum of invariance, variance and covariance."""

    card = MethodCard(
        "vicreg",
        "VICReg",
        "Bardes, Ponce, LeCun, ICLR 2022",
        "two views",
        "-",
        "Neither negatives nor a second network; views are not compared over the batch.",
    )
    Settings = VICRegSettings
    distillation = "vicreg"

    @property
    def dim(self) -> int:
        return self.settings.dim

    def projector(self, width: int) -> nn.Module:
        """Return three linear layers with normalisation."""
        return perceptron(width, self.settings.hidden, self.settings.dim, layers=3, norm=True)

    def loss(self, step: Step) -> Float[Tensor, ""]:
        settings = self.settings
        return variance_invariance_covariance(
            *step.out.embeddings, settings.invariance, settings.variance, settings.covariance
        )
