"""Labels that an old network gives to what a new task calls background."""

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
    """Return a mask whose background is labelled by an old network where that is sure; nothing else is touched.

    Args:
        target: 0 for the background, 255 ignored.
        scores: Of the old network; channel 0 is the background.
        sure: For each pixel, whether the old network is.
        unsure: What background is where it is not.
    """
    answer = scores.argmax(dim=1)
    other = torch.zeros_like(target) if unsure == "background" else torch.full_like(target, IGNORE)
    return torch.where(target == 0, torch.where(sure, answer, other), target)


def normalised_entropy(probabilities: Float[Tensor, "batch known height width"]) -> Float[Tensor, "batch height width"]:
    """Return the entropy of each pixel's answer, divided by its largest, so between 0 and 1.

    The code of PLOP takes a mean over classes that it then divides by the logarithm of their number once more.
    """
    entropy: Tensor = torch.special.entr(probabilities).sum(dim=1)
    return entropy / math.log(probabilities.shape[1])
