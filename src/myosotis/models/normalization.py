"""Size and normalisation of images as the first module of a classifier, so that callers use pixels in [0, 1]."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import SettingsError


class Normalize(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        mean: Mean of each channel, in units of [0, 1] pixels.
        std: Standard deviation of each channel, above 0.
        size: Height and width that images are scaled to first, bilinearly; None leaves them as they are.

    Raises:
        SettingsError: Lengths differ, or a standard deviation is not positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], size: int | None = None) -> None:
        super().__init__()
        self.size = size
        if len(mean) != len(std) or not mean:
            raise SettingsError(f"mean and std need one number for each channel, got {len(mean)} and {len(std)}")
        if min(std) <= 0:
            raise SettingsError(f"a standard deviation must be positive, got {min(std)}")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "n given height width"]) -> Float[Tensor, "n channels h w"]:
        """Return the scaled and normalised images; one channel becomes as many equal ones as there are means."""
        if self.size is not None and images.shape[-2:] != (self.size, self.size):
            images = functional.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return (images - self.mean) / self.std


class NormalizedClassifier(nn.Module):
    """A classifier behind its normalisation: takes images in [0, 1], returns logits.

    Args:
        classifier: Classifier of normalised images.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        size: See :class:`Normalize`.

    Example:
        >>> model = NormalizedClassifier(nn.Flatten(), mean=[0.5], std=[0.25])
        >>> model(torch.full((1, 1, 1, 2), 0.75)).tolist()
        [[1.0, 1.0]]
    """

    def __init__(
        self, classifier: nn.Module, mean: Sequence[float], std: Sequence[float], size: int | None = None
    ) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std, size)
        self.classifier = classifier

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        logits: Tensor = self.classifier(self.normalize(images))
        return logits
