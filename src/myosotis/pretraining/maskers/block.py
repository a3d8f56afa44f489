"""Blockwise masking."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device
from myosotis.pretraining.maskers.masker import Masker
from myosotis.pretraining.token_mask import TokenMask, mask_from_hidden, visible_count

_ATTEMPTS = 10


@dataclass(frozen=True)
class BlockSettings:
    """Settings of the blocks.

    Attributes:
        smallest: Tokens in a block, at least, where so many are still to be hidden.
        largest_aspect: Largest aspect ratio; the smallest is its inverse.
    """

    smallest: PositiveInt = 4
    largest_aspect: PositiveFloat = 1 / 0.3


class BlockMasker(Masker[BlockSettings]):
    """Rectangles of random size, shape and position are hidden until there are enough hidden tokens or no block fits.

    An image may therefore end with fewer hidden tokens than asked for, never with more.
    """

    card = MethodCard(
        name="block",
        title="Blockwise masking (BEiT)",
        paper="Bao, Dong, Piao, Wei: BEiT: BERT Pre-Training of Image Transformers, ICLR 2022",
        reads="images",
        memory="nothing",
        purpose="Harder than random masking at the same ratio: hidden tokens are contiguous.",
    )
    Settings = BlockSettings

    def __call__(
        self, tokens: Tensor, *, grid: tuple[int, int], ratio: float, generator: torch.Generator, **_: Any
    ) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        count = tokens.shape[1] - visible_count(tokens.shape[1], ratio)
        draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        hidden = np.stack([self._image(grid, count, draws) for _ in range(tokens.shape[0])])
        return mask_from_hidden(to_device(torch.from_numpy(hidden).flatten(1), tokens.device))

    def _image(self, grid: tuple[int, int], count: int, draws: np.random.Generator) -> Any:
        hidden = np.zeros(grid, dtype=bool)
        left = count
        while left > 0:
            added = self._add_block(hidden, left, draws)
            if not added:
                break
            left -= added
        if not hidden.any():
            hidden[tuple(draws.integers(grid))] = True
        return hidden

    def _add_block(self, hidden: Any, most: int, draws: np.random.Generator) -> int:
        """Hide one more block of at most so many new tokens; 0 if none was found."""
        rows, columns = hidden.shape
        bound = abs(math.log(self.settings.largest_aspect))
        for _ in range(_ATTEMPTS):
            area = draws.uniform(min(self.settings.smallest, most), most)
            aspect = math.exp(draws.uniform(-bound, bound))
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if not (0 < height <= rows and 0 < width <= columns):
                continue
            top, start = draws.integers(rows - height + 1), draws.integers(columns - width + 1)
            block = hidden[top : top + height, start : start + width]
            added = int(block.size - block.sum())
            if 0 < added <= most:
                block[:] = True
                return added
        return 0
