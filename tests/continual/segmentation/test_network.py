"""Tests of :mod:`myosotis.continual.segmentation.network`."""

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.continual.segmentation.losses import (
    unbiased_distillation,
)
from myosotis.continual.segmentation.network import GrowingHeads, init_new_heads


def test_balanced_heads():
    heads = GrowingHeads(1).double()
    heads.grow(2, torch.Generator())
    with torch.no_grad():
        for weight in heads.weights:
            weight.zero_()
        heads.biases[0].fill_(0.7)
        heads.biases[1].copy_(torch.tensor([-0.2, 0.4]))
    features = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    old = heads(features)
    heads.grow(2, torch.Generator())
    heads.double()
    init_new_heads(heads)
    new = heads(features)
    assert heads.biases[0].item() == pytest.approx(-0.3986122887)
    expected = [0.1552273515, 0.1893321945, 0.3449857510, 0.1552273515, 0.1552273515]
    assert new.softmax(1).flatten().tolist() == pytest.approx(expected)
    assert 3 * unbiased_distillation(new, old).item() == pytest.approx(1.0381468645)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_balanced_heads_keep_every_old_probability(seed, count):
    stream = torch.Generator().manual_seed(seed)
    heads = GrowingHeads(3)
    heads.grow(2, stream)
    features = torch.randn(2, 3, 2, 2, generator=stream)
    old = heads(features).softmax(dim=1)
    heads.grow(count, stream)
    init_new_heads(heads)
    new = heads(features).softmax(dim=1)
    torch.testing.assert_close(new[:, 1:3], old[:, 1:])
    torch.testing.assert_close(new[:, 0] + new[:, 3:].sum(1), old[:, 0])
