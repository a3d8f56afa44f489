"""A body with 1x1 heads, one for the background and one for each task."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from myosotis.models.segmenter import SegmentationBody


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network for a batch.

    Attributes:
        logits: Logits at the resolution of the images; channel 0 is the background.
        small: Logits at the resolution of the features.
        features: Input of the heads.
        maps: Feature maps of earlier layers.
    """

    logits: Float[Tensor, "n classes height width"]
    small: Float[Tensor, "n classes h w"]
    features: Float[Tensor, "n features h w"]
    maps: tuple[Tensor, ...]


class GrowingHeads(nn.Module):
    """1x1 convolutions side by side: block 0 is the background, block t + 1 the classes of task t.

    Args:
        num_features: Number of features of the body.

    Example:
        >>> heads = GrowingHeads(4)
        >>> heads.grow(2, torch.Generator().manual_seed(0))
        >>> heads(torch.zeros(1, 4, 2, 2)).shape
        torch.Size([1, 3, 2, 2])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(1, num_features))])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(1))])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Channels of each block."""
        return tuple(len(weight) for weight in self.weights)

    def grow(self, count: int, generator: torch.Generator) -> None:
        """Add a block of random rows; the first call initialises the background too."""
        device = self.weights[0].device
        bound = 1 / math.sqrt(self.num_features)
        if len(self.weights) == 1:
            with torch.no_grad():
                drawn = (torch.rand(1, self.num_features, generator=generator) * 2 - 1) * bound
                self.weights[0].copy_(drawn)
        rows = (torch.rand(count, self.num_features, generator=generator) * 2 - 1) * bound
        self.weights.append(nn.Parameter(rows.to(device)))
        self.biases.append(nn.Parameter(torch.zeros(count, device=device)))

    def forward(self, features: Float[Tensor, "n features h w"]) -> Float[Tensor, "n classes h w"]:
        """Return logits."""
        weight, bias = torch.cat(list(self.weights)), torch.cat(list(self.biases))
        return functional.conv2d(features, weight[:, :, None, None], bias)


def init_new_heads(heads: GrowingHeads) -> None:
    """Start the newest block from the background, both sharing its probability (Cermelli et al., CVPR 2020).

    New rows are the background's, and every bias of them and of the background is its old one less ``log(n_new + 1)``:
    the old classes keep their probabilities, and background and new ones together have what background had. Shifting
    the new ones alone, a common slip, does not do that.
    """
    with torch.no_grad():
        heads.weights[-1].copy_(heads.weights[0].expand_as(heads.weights[-1]))
        heads.biases[0] -= math.log(len(heads.biases[-1]) + 1)
        heads.biases[-1].copy_(heads.biases[0].expand_as(heads.biases[-1]))


class SegmentationNet(nn.Module):
    """A body with growing heads.

    Args:
        body: Network from images in [0, 1] to features and maps.
    """

    def __init__(self, body: SegmentationBody) -> None:
        super().__init__()
        self.body = body
        self.heads = GrowingHeads(body.num_features)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return logits at the resolution of the images, features and maps."""
        features, maps = self.body(images)
        small = self.heads(features)
        return Outputs(enlarged(small, images, self.body.multiple), small, features, maps)


def enlarged(
    logits: Float[Tensor, "n classes h w"], images: Float[Tensor, "n channels height width"], multiple: int
) -> Float[Tensor, "n classes height width"]:
    """Return logits at the resolution of images, by bilinear interpolation.

    Args:
        logits: Logits of the images, padded to sides that ``multiple`` divides.
        images: Images without padding.
        multiple: Multiple of the sides, see :class:`~myosotis.models.segmenter.SegmentationBody`.
    """
    height, width = images.shape[2:]
    padded = height + -height % multiple, width + -width % multiple
    logits = functional.interpolate(logits, size=padded, mode="bilinear", align_corners=False)
    return logits[:, :, :height, :width]
