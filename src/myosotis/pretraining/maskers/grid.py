"""Masking on a regular grid."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device
from myosotis.pretraining.maskers.masker import Masker, NoSettings
from myosotis.pretraining.token_mask import TokenMask, mask_from_scores


class GridMasker(Masker[NoSettings]):
    """Visible tokens lie as evenly as their number allows; each image shifts the pattern by a random step.

    At a ratio of 3/4 this is one of every 2x2 tokens, the grid-wise sampling of He et al. Other ratios follow the
    order in which ordered dithering (Bayer 1973) fills a plane.
    """

    card = MethodCard(
        name="grid",
        title="Grid-wise masking",
        paper="He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022",
        reads="images",
        memory="nothing",
        purpose="A control: the easiest task at a ratio, as every hidden token has a visible neighbour.",
    )
    Settings = NoSettings

    def __call__(
        self, tokens: Tensor, *, grid: tuple[int, int], ratio: float, generator: torch.Generator, **_: Any
    ) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        order = dither_order(max(grid))
        side, batch = order.shape[0], tokens.shape[0]
        shifts = torch.randint(side, (2, batch, 1, 1), generator=generator)
        rows = (torch.arange(grid[0])[None, :, None] + shifts[0]) % side
        columns = (torch.arange(grid[1])[None, None, :] + shifts[1]) % side
        scores = order[rows, columns].reshape(batch, -1).float()
        return mask_from_scores(to_device(scores, tokens.device), ratio)


def dither_order(least: int) -> Int[Tensor, "side side"]:
    """Return an order to fill a square in, each beginning of which lies evenly; its side is a power of two.

    Example:
        >>> dither_order(2).tolist()
        [[0, 2], [3, 1]]
    """
    order = torch.zeros(1, 1, dtype=torch.long)
    while order.shape[0] < least:
        four = 4 * order
        order = torch.cat([torch.cat([four, four + 2], dim=1), torch.cat([four + 3, four + 1], dim=1)])
    return order
