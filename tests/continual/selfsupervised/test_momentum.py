"""Tests of :mod:`myosotis.continual.selfsupervised.momentum`."""

import pytest
import torch
from torch import nn

from myosotis.continual.selfsupervised.momentum import MomentumCopy, momentum_at


def test_a_momentum_copy_follows():
    encoder_, projector = nn.Linear(2, 2), nn.Linear(2, 2)
    copy_ = MomentumCopy(encoder_, projector)
    first = copy_.encoder.weight.clone()
    with torch.no_grad():
        encoder_.weight.add_(1.0)
    copy_.follow(encoder_, projector, 0.9)
    torch.testing.assert_close(copy_.encoder.weight, first + 0.1)
    assert momentum_at(0, 0.99, 0.999) == pytest.approx(0.99)
    assert momentum_at(1, 0.99, 0.999) == pytest.approx(0.999)
