"""Tests of :mod:`myosotis.continual.selfsupervised.losses`."""

import pytest
import torch

from myosotis.continual.selfsupervised.losses import (
    negative_cosine,
    redundancy_reduction,
    variance_invariance_covariance,
)


def test_losses_of_two_views_by_definition():
    stream = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    assert negative_cosine(a, a).item() == pytest.approx(0, abs=1e-12)
    assert negative_cosine(a, -a).item() == pytest.approx(4)
    one, other = ((side - side.mean(0)) / (side.var(0, unbiased=False) + 1e-5).sqrt() for side in (a, b))
    expected = 0.0
    for i in range(3):
        for j in range(3):
            value = (one[:, i] * other[:, j]).mean()
            expected += (1 - value) ** 2 if i == j else 5e-3 * value**2
    assert redundancy_reduction(a, b).item() == pytest.approx(0.1 * expected.item())
    covariances = [torch.cov(side.T) for side in (a, b)]
    shared = sum((table.square().sum() - table.diagonal().square().sum()) / 3 for table in covariances)
    spread = sum((1 - (table.diagonal() + 1e-4).sqrt()).clamp(min=0).mean() / 2 for table in covariances)
    expected = 25 * (a - b).square().mean() + 25 * spread + shared
    assert variance_invariance_covariance(a, b).item() == pytest.approx(expected.item())
    for loss in (redundancy_reduction, variance_invariance_covariance):
        with pytest.raises(ValueError, match="at least two"):
            loss(a[:1], b[:1])
