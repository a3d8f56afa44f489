"""Grid-wise masking."""

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.maskers.grid import dither_order


def test_a_grid_of_three_quarters_shows_one_of_four(tokens):
    x = tokens(16, 64)
    mask = build_masker("grid")(x, grid=(8, 8), ratio=0.75, generator=generator(0))
    cells = (~mask.hidden).view(16, 4, 2, 4, 2).sum(dim=(2, 4))
    assert cells.eq(1).all()
    starts = {tuple(row.nonzero().flatten().tolist()) for row in ~mask.hidden}
    assert len(starts) == 4
    assert sorted(dither_order(8).flatten().tolist()) == list(range(64))
