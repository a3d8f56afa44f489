"""BYOL: prediction of a momentum copy's embedding of the other view."""

from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.losses import negative_cosine
from myosotis.continual.selfsupervised.momentum import MomentumCopy
from myosotis.continual.selfsupervised.network import SslNetwork, perceptron
from myosotis.engine.method import Fraction, MethodCard


@dataclass(frozen=True)
class BYOLSettings:
    """Settings of BYOL.

    Attributes:
        dim: Number of entries of an embedding.
        hidden: Width of projector and predictor.
        momentum: Momentum at the start of a task.
        final_momentum: Momentum at its end.
    """

    dim: PositiveInt = 256
    hidden: PositiveInt = 4096
    momentum: Fraction = 0.99
    final_momentum: Fraction = 0.999


class BYOL(Base[BYOLSettings]):
    """``(2 - 2 cos(h(z_A), k_B)) + (2 - 2 cos(h(z_B), k_A))``, h the predictor and k of the momentum copy."""

    card = MethodCard(
        "byol",
        "BYOL",
        "Grill et al., NeurIPS 2020",
        "two views",
        "a momentum copy",
        "No negatives.",
    )
    Settings = BYOLSettings
    distillation = "byol"

    @property
    def dim(self) -> int:
        return self.settings.dim

    def projector(self, width: int) -> nn.Module:
        """Return two linear layers with normalisation."""
        return perceptron(width, self.settings.hidden, self.settings.dim, norm=True)

    def predictor(self) -> nn.Module:
        """Return two linear layers with normalisation."""
        return perceptron(self.settings.dim, self.settings.hidden, self.settings.dim, norm=True)

    def attach(self, net: SslNetwork) -> None:
        self.target = MomentumCopy(net.encoder, net.projector)

    def momentum(self) -> tuple[float, float]:
        """Return the momentum at the start and at the end of a task."""
        return self.settings.momentum, self.settings.final_momentum

    def loss(self, step: Step) -> Float[Tensor, ""]:
        """Return the sum over both directions."""
        predicted, keys = step.out.predictions, step.keys
        assert predicted is not None  # noqa: S101 - there is a predictor
        assert keys is not None  # noqa: S101 - there is a copy
        return negative_cosine(predicted[0], keys[1]) + negative_cosine(predicted[1], keys[0])
