"""The network of a continual self-supervised learner: encoder, projector, predictor and distiller."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.continual.selfsupervised.contrast import Pair, unit_pair
from myosotis.engine.errors import SettingsError
from myosotis.models.modes import evaluating

Reads = Literal["features", "embeddings", "unit embeddings"]


class Outputs(NamedTuple):
    """Outputs of the network for both views.

    Attributes:
        features: Output of the encoder.
        embeddings: Output of the projector, not normalised.
        predictions: Output of the base's predictor for the embeddings; None without one.
        distilled: Output of the distiller; None without a past model.
    """

    features: Pair
    embeddings: Pair
    predictions: Pair | None
    distilled: Pair | None

    def leading(self, count: int) -> "Outputs":
        """Return the outputs for the first ``count`` samples."""
        return Outputs(*(None if pair is None else (pair[0][:count], pair[1][:count]) for pair in self))  # type: ignore[arg-type]


class SslNetwork(nn.Module):
    """All parameters in training.

    Args:
        encoder: Network from images to features.
        projector: Network from features to embeddings.
        predictor: Network from embeddings to embeddings; None if the base has none.
        distiller: Network that predicts the past model's output; None if the method has none.
        reads: Input of the distiller.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module | None = None,
        distiller: nn.Module | None = None,
        reads: Reads = "embeddings",
    ) -> None:
        super().__init__()
        self.encoder, self.projector = encoder, projector
        self.predictor, self.distiller = predictor, distiller
        self._reads = reads
        self.distils = False

    def distil(self, active: bool) -> None:
        """Turn the distiller on, once there is a past model, or off."""
        self.distils = active and self.distiller is not None
        if self.distiller is not None:
            self.distiller.requires_grad_(self.distils)

    def forward(
        self, first: Float[Tensor, "n channels height width"], second: Float[Tensor, "n channels height width"]
    ) -> Outputs:
        """Return the outputs for both views, each with batch statistics of its own."""
        encoder, projector, predictor, distiller = self.encoder, self.projector, self.predictor, self.distiller
        features: Pair = encoder(first), encoder(second)
        embeddings: Pair = projector(features[0]), projector(features[1])
        predictions: Pair | None = None
        if predictor is not None:
            predictions = predictor(embeddings[0]), predictor(embeddings[1])
        distilled: Pair | None = None
        if self.distils and distiller is not None:
            read = features if self._reads == "features" else embeddings
            if self._reads == "unit embeddings":
                read = unit_pair(read)
            distilled = distiller(read[0]), distiller(read[1])
        return Outputs(features, embeddings, predictions, distilled)


def perceptron(width: int, hidden: int, dim: int, *, layers: int = 2, norm: bool) -> nn.Sequential:
    """Return linear layers with ReLUs between them, and batch normalisation before the ReLUs if ``norm``.

    Args:
        width: Width of the input.
        hidden: Width between layers.
        dim: Width of the output.
        layers: Number of linear layers.
        norm: Whether there is batch normalisation.
    """
    parts: list[nn.Module] = []
    for number in range(layers - 1):
        parts.append(nn.Linear(width if number == 0 else hidden, hidden, bias=not norm))
        if norm:
            parts.append(nn.BatchNorm1d(hidden))
        parts.append(nn.ReLU(inplace=True))
    parts.append(nn.Linear(hidden, dim))
    return nn.Sequential(*parts)


def encoder_width(encoder: nn.Module, image: Float[Tensor, "channels height width"]) -> int:
    """Return the number of features of an encoder.

    Args:
        encoder: Encoder, used in evaluation mode.
        image: Input image.

    Raises:
        SettingsError: It does not take the image, or does not return a vector of features for it.
    """
    with evaluating(encoder), torch.no_grad():
        try:
            features = encoder(image.unsqueeze(0))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise SettingsError(f"the encoder does not take images of {tuple(image.shape)}: {first_line}") from None
    shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 1:
        raise SettingsError(f"the encoder must return (batch, features), but returns {shape} for one image")
    return int(features.shape[1])
