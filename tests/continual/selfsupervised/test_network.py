"""Tests of :mod:`myosotis.continual.selfsupervised.network`."""

import pytest
import torch
from torch import nn

from myosotis.continual.selfsupervised.network import encoder_width


class Two(nn.Module):
    def forward(self, x):
        return x, x


def test_the_width_of_an_encoder(encoder):
    assert encoder_width(encoder(), torch.rand(1, 8, 8)) == 32
    with pytest.raises(ValueError, match=r"must return \(batch, features\), but returns \(1, 4, 8, 8\)"):
        encoder_width(nn.Conv2d(1, 4, 3, padding=1), torch.rand(1, 8, 8))
    with pytest.raises(ValueError, match="does not take images of"):
        encoder_width(encoder(), torch.rand(3, 8, 8))


def test_an_encoder_that_returns_no_tensor():
    with pytest.raises(ValueError, match="returns tuple"):
        encoder_width(Two(), torch.rand(1, 8, 8))
