"""Tests of :mod:`myosotis.continual.selfsupervised.cassle`."""

import pytest
import torch

from myosotis.continual.selfsupervised.cassle import cassle_loss


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


P, R = (rows([0.6, 0.8]), rows([0.8, 0.6])), (rows([0, 1]), rows([1, 0]))


def test_cassle():
    assert cassle_loss(P, R, "contrastive", 1.0).item() == pytest.approx(0.5981388694)
    assert cassle_loss(P, R, "contrastive", 0.2).item() == pytest.approx(0.3132616875)
    assert cassle_loss(P, R, "byol").item() == pytest.approx(0.4)
    assert cassle_loss(P, R, "vicreg").item() == pytest.approx(0.2)
