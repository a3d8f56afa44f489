"""Contexts: what surrounds a symbol."""

import numpy as np
import pytest

from myosotis.denoising.contexts import Context1d, Context2d, make_field, pieces


def test_neighbourhoods_are_nested_and_have_a_hole():
    for count in (1, 4, 8, 20, 24, 60, 120):
        small, large = Context2d(count).offsets.tolist(), Context2d(count + 1).offsets.tolist()
        assert large[:count] == small
        assert [0, 0] not in large
    distance = (Context2d(60).offsets ** 2).sum(axis=1)
    assert (np.diff(distance) >= 0).all()
    # Nothing nearer was forgotten.
    inside = sum(dy * dy + dx * dx < distance[-1] for dy in range(-9, 10) for dx in range(-9, 10)) - 1
    assert inside <= 60
    assert np.abs(Context2d(24).offsets).max() == 2


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_pieces_have_the_contexts_of_the_whole(size):
    draws = np.random.default_rng(0)
    plane, line = draws.integers(0, 3, (13, 11)), draws.integers(0, 3, 97)
    lengths = [10, 1, 40, 3, 43]
    for noisy, context, cut in (
        (plane, Context2d(12), None),
        (line, Context1d(3), None),
        (line, Context1d(3), lengths),
    ):
        whole = make_field(noisy, context, 3, lengths=cut)
        seen = np.zeros(noisy.size, dtype=int)
        for begin, end, field in pieces(noisy, context, 3, lengths=cut, size=size):
            assert (field.windows() == whole.windows(slice(begin, end))).all()
            assert (field.complete() == whole.complete(slice(begin, end))).all()
            seen[begin:end] += 1
        assert (seen == 1).all()
