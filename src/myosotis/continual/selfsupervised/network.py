"""What a continual self-supervised learner trains: an encoder, a projector, and what predicts from them."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.continual.selfsupervised.contrast import Pair, unit_pair
from myosotis.engine.errors import SettingsError
from myosotis.models.modes import evaluating

Reads = Literal["features", "embeddings", "unit embeddings"]


class Outputs(NamedTuple):
    """What the network makes of both views.

    Attributes:
        features: Of the encoder.
        embeddings: Of the projector, not normalised.
        predictions: Of the base's predictor from the embeddings; None without one.
        distilled: Predictions of what the past model says; None while there is none.
    """

    features: Pair
    embeddings: Pair
    predictions: Pair | None
    distilled: Pair | None

    def leading(self, count: int) -> "Outputs":
        """Return what was made of the first samples."""
        return Outputs(*(None if pair is None else (pair[0][:count], pair[1][:count]) for pair in self))  # type: ignore[arg-type]


class SslNetwork(nn.Module):
    """All that is trained.

    Args:
        encoder: From images to features.
        projector: From features to embeddings.
        predictor: From embeddings to embeddings, where the base has one.
        distiller: From what ``reads`` says to what the past model says, where the method has one.
        reads: See above.
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

    def distil(self, wanted: bool) -> None:
        """Say whether there is a past model to predict; otherwise the distiller is not touched."""
        self.distils = wanted and self.distiller is not None
        if self.distiller is not None:
            self.distiller.requires_grad_(self.distils)

    def forward(
        self, one: Float[Tensor, "n channels height width"], other: Float[Tensor, "n channels height width"]
    ) -> Outputs:
        """Return what is made of both views, each with batch statistics of its own."""
        encoder, projector, predictor, distiller = self.encoder, self.projector, self.predictor, self.distiller
        features: Pair = encoder(one), encoder(other)
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
    """Return linear layers with ReLUs between them, and batch normalisation before these if ``norm`` says so.

    Args:
        width: Of what comes in.
        hidden: Between layers.
        dim: Of what goes out.
        layers: How many.
        norm: See above.
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
    """Return how many features an encoder gives.

    Args:
        encoder: Is looked at in evaluation mode.
        image: What it is shown.

    Raises:
        SettingsError: It does not take the image, or does not return a vector of features for it.
    """
    with evaluating(encoder), torch.no_grad():
        try:
            found = encoder(image.unsqueeze(0))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            first_line = (str(error) or type(error).__name__).splitlines()[0]
            raise SettingsError(f"the encoder does not take images of {tuple(image.shape)}: {first_line}") from None
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1:
        raise SettingsError(f"the encoder must return (batch, features), but returns {shape} for one image")
    return int(found.shape[1])
