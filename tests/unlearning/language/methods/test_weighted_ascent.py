"""WGA and SatImp: closed forms and gradients."""

import pytest
import torch

from myosotis.unlearning.language import gradient_ascent_loss, saturation_importance_loss, weighted_ascent_loss

Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
P = Z[0, 0].softmax(dim=-1)
Y = torch.tensor([[0]])


def test_weighted_ascent_is_ascent_times_a_constant_weight(gradient, onehot):
    assert weighted_ascent_loss(Z, Y, 1.0).item() == pytest.approx((P[0] * P[0].log()).item(), rel=1e-12)
    assert weighted_ascent_loss(Z, Y, 0.0).item() == gradient_ascent_loss(Z, Y).item()
    # The weight carries no gradient: d log p_y / dz = onehot - p.
    expected = P[0] ** 2 * (onehot(0) - P)
    torch.testing.assert_close(gradient(lambda z, y: weighted_ascent_loss(z, y, 2.0))[0, 0], expected)


def test_saturation_importance_weights(gradient, onehot):
    value = saturation_importance_loss(Z, Y, 5.0, 1.0).item()
    assert value == pytest.approx((P[0] ** 5 * (1 - P[0]) * P[0].log()).item(), rel=1e-12)
    expected = P[0] ** 5 * (1 - P[0]) * (onehot(0) - P)
    torch.testing.assert_close(gradient(saturation_importance_loss)[0, 0], expected)
