"""Labels of an old network for the background of a new task."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.masks import IGNORE

Unsure = Literal["background", "ignore"]


def pseudo_label(
    target: Int[Tensor, "batch height width"],
    scores: Float[Tensor, "batch known height width"],
    sure: Tensor,
    unsure: Unsure = "background",
) -> Int[Tensor, "batch height width"]:
    """Return a mask whose background is labelled by an old network where that is confident.

    Args:
        target: Channels, 0 for the background, 255 for ignored pixels.
        scores: Scores of the old network; channel 0 is the background.
        sure: Whether the old network is confident, for each pixel.
        unsure: Label of the other background pixels.
    """
    predicted = scores.argmax(dim=1)
    other = torch.zeros_like(target) if unsure == "background" else torch.full_like(target, IGNORE)
    return torch.where(target == 0, torch.where(sure, predicted, other), target)


def normalised_entropy(probabilities: Float[Tensor, "batch known height width"]) -> Float[Tensor, "batch height width"]:
    """Return the entropy of each pixel's prediction, divided by its maximum, so between 0 and 1.

    The code of PLOP takes a mean over classes and divides it by the logarithm of their number too.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return entropy / math.log(probabilities.shape[1])
