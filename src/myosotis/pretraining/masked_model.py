"""What is common to the networks that are pre-trained by masking, and to the objectives that build them."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.engine.method import MethodCard
from myosotis.models.normalization import Normalize
from myosotis.pretraining.maskers.masker import Guide, Masker
from myosotis.pretraining.token_mask import TokenMask

Images = Float[Tensor, "batch channels height width"]


@dataclass(frozen=True)
class Reconstruction:
    """The outputs of a forward pass.

    Attributes:
        terms: Terms of the loss by name, each a scalar.
        prediction: Predicted pixels, (batch, tokens, pixels) of each token; for ``SimMIM`` those of whole images.
        mask: The hidden and the visible tokens.
    """

    terms: dict[str, Tensor]
    prediction: Tensor
    mask: TokenMask


class MaskedModel(nn.Module, ABC):
    """A network that is pre-trained by masking: the normalisation of images, an encoder, and what the objective adds.

    Args:
        encoder: A model of timm. It is trained in place.
        masker: The choice of what is hidden.
        normalize: Applied to all images; None leaves them as they are.
    """

    grid: tuple[int, int]
    """Rows and columns of mask units."""
    unit: int
    """Side of a mask unit in pixels."""

    def __init__(self, encoder: nn.Module, masker: Masker[Any], normalize: Normalize | None = None) -> None:
        super().__init__()
        self.encoder, self.masker = encoder, masker
        self.normalize = Normalize([0.0], [1.0]) if normalize is None else normalize

    @abstractmethod
    def forward(
        self,
        images: Images,
        *,
        ratio: float = 0.75,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        mask: TokenMask | None = None,
        guide: Float[Tensor, "batch units"] | None = None,
    ) -> Reconstruction:
        """Return the loss on what is hidden, and the prediction.

        Args:
            images: Before normalisation.
            ratio: Share of hidden mask units.
            progress: Share of the training that is done.
            generator: Randomness of the mask, on the CPU.
            mask: Hide this instead of asking the masker.
            guide: Guidance of a teacher (see :meth:`guidance`), for maskers with a
                :attr:`~.maskers.masker.Masker.guide`.

        Raises:
            ValueError: There is neither a mask nor a generator, or the masker misses its guide.
        """

    @abstractmethod
    def guidance(self, images: Images, kind: Guide) -> Float[Tensor, "batch units"]:
        """Return the guidance of this network as a teacher, from whole images."""

    @abstractmethod
    def reconstructed(self, x: Images, reconstruction: Reconstruction) -> Images:
        """Return the predicted pixels of whole images.

        Args:
            x: Normalised images.
            reconstruction: The output of :meth:`forward` for them.
        """

    @torch.no_grad()
    def pictures(self, images: Images, reconstruction: Reconstruction) -> tuple[Images, Images]:
        """Return images with grey in place of hidden units, and images with the prediction there.

        Args:
            images: Before normalisation.
            reconstruction: The output of :meth:`forward` for them.
        """
        x = self.normalize(images)
        hidden = self.hidden_pixels(reconstruction.mask)
        masked = torch.where(hidden, x.mean(), x)
        filled = torch.where(hidden, self.reconstructed(x, reconstruction), x)
        mean, std = self.normalize.mean, self.normalize.std
        return masked * std + mean, filled * std + mean

    def hidden_pixels(self, mask: TokenMask) -> Tensor:
        """Return which pixels are hidden, (batch, 1, height, width)."""
        units = mask.hidden.view(-1, 1, *self.grid)
        return units.repeat_interleave(self.unit, 2).repeat_interleave(self.unit, 3)

    def masker_arguments(
        self, ratio: float, progress: float, generator: torch.Generator | None, guide: Tensor | None
    ) -> dict[str, Any]:
        """Return the arguments of the masker beside the tokens; see :meth:`forward`."""
        if generator is None:
            raise ValueError("give a generator or a mask")
        arguments = {"grid": self.grid, "ratio": ratio, "progress": progress, "generator": generator}
        return arguments if self.masker.guide is None else {**arguments, self.masker.guide: guide}


class Objective(ABC):
    """A way to learn from what is hidden; subclasses are frozen dataclasses of its settings."""

    card: ClassVar[MethodCard]

    @abstractmethod
    def build(
        self,
        encoder: nn.Module,
        masker: Masker[Any],
        *,
        shape: tuple[int, int, int],
        normalize: Normalize | None,
        fresh: bool,
        recompute: bool,
    ) -> MaskedModel:
        """Return the network that is pre-trained.

        Args:
            encoder: A model of timm. It is trained in place.
            masker: The choice of what is hidden.
            shape: Channels, height and width of images.
            normalize: Applied to all images; None leaves them as they are.
            fresh: Whether the encoder has random weights, which may be drawn anew; False for one that is pre-trained.
            recompute: Gradient checkpointing.

        Raises:
            SettingsError: Something does not fit.
        """
