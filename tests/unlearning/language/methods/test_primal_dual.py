"""PDU: the flattening loss."""

import pytest
import torch

from myosotis.unlearning.language import logit_flattening_loss

Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
Y = torch.tensor([[0]])


def test_flattening_is_zero_for_uniform_logits_only(gradient, onehot):
    assert logit_flattening_loss(Z, Y).item() == pytest.approx(1.5**2)
    expected = 2 * 1.5 * (onehot(0) - 0.25)
    torch.testing.assert_close(gradient(logit_flattening_loss)[0, 0], expected)
    assert logit_flattening_loss(torch.full((1, 1, 4), 3.0), Y) == 0
