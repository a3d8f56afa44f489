"""Tests of :mod:`myosotis.continual.classification.batches`."""

import pytest
import torch


def test_batches_mixed_and_apart(batches_of, stream):
    mixed = list(batches_of(range(40), range(40, 60))(0))
    assert len(mixed) == 6
    drawn = torch.cat([batch.indices for batch in mixed])
    assert sorted(drawn.tolist()) == list(range(60))
    for batch in mixed:
        assert (batch.indices[: batch.n_current] < 40).all()
        assert (batch.indices[batch.n_current :] >= 40).all()
        assert batch.labels.equal(stream().train.labels[batch.indices])
    apart = list(batches_of(range(40), range(40, 46), memory_size=4)(0))
    assert len(apart) == 6
    assert {batch.n_current for batch in apart} == {6}
    remembered = torch.cat([batch.indices[6:] for batch in apart])
    assert torch.bincount(remembered, minlength=46)[40:].tolist() == [4] * 6
    again = batches_of(range(40), range(40, 46), memory_size=4)
    assert [batch.indices.tolist() for batch in again(0)] == [batch.indices.tolist() for batch in apart]
    assert [batch.indices.tolist() for batch in again(1)] != [batch.indices.tolist() for batch in apart]
    small = list(batches_of(range(3), [], memory_size=4)(0))
    assert [batch.n_current for batch in small] == [3]
    with pytest.raises(ValueError, match="no training samples"):
        batches_of([], [1])
    with pytest.raises(ValueError, match="leaves none of 3 current"):
        batches_of(range(3), [5], size=4, memory_size=4)
