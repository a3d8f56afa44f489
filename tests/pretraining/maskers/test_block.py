"""Blockwise masking."""

import numpy as np

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.maskers.block import BlockMasker, BlockSettings


def test_blocks_hang_together(tokens):
    def borders(hidden):
        plane = hidden.view(-1, 14, 14).int()
        return (plane.diff(dim=1).abs().sum() + plane.diff(dim=2).abs().sum()).item()

    x = tokens(32, 196)
    blocks = build_masker("block", {"smallest": 16})(x, grid=(14, 14), ratio=0.4, generator=generator(0))
    plain = build_masker("random")(x, grid=(14, 14), ratio=0.4, generator=generator(0))
    assert borders(blocks.hidden) < 0.5 * borders(plain.hidden)
    assert 0.36 < blocks.ratios.mean() <= 79 / 196 + 1e-6


def test_a_block_mask_hides_something_even_where_no_block_fits():
    masker = BlockMasker(BlockSettings(smallest=4, largest_aspect=1000.0))
    for seed in range(20):
        hidden = masker._image((2, 2), 1, np.random.default_rng(seed))
        assert hidden.sum() == 1
