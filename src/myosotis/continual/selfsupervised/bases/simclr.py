"""SimCLR: contrast within the batch."""

from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.losses import pairwise_contrast
from myosotis.continual.selfsupervised.network import perceptron
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class SimCLRSettings:
    """Settings of SimCLR.

    Attributes:
        temperature: Temperature τ of the contrastive loss.
        dim: Number of entries of an embedding.
        hidden: Width of the projector.
    """

    temperature: PositiveFloat = 0.2
    dim: PositiveInt = 128
    hidden: PositiveInt = 2048


class SimCLR(Base[SimCLRSettings]):
    """NT-Xent over both views of the batch."""

    card = MethodCard(
        "simclr",
        "SimCLR",
        "Chen, Kornblith, Norouzi, Hinton, ICML 2020",
        "two views",
        "-",
        "Contrast without a second network or a queue; needs large batches.",
    )
    Settings = SimCLRSettings
    distillation = "contrastive"

    @property
    def dim(self) -> int:
        return self.settings.dim

    def projector(self, width: int) -> nn.Module:
        """Return two linear layers."""
        return perceptron(width, self.settings.hidden, self.settings.dim, norm=False)

    def loss(self, step: Step) -> Float[Tensor, ""]:
        return pairwise_contrast(*step.out.embeddings, self.settings.temperature)
