"""UNDIAL: closed form, gradient, and what released code gets wrong."""

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import undial_loss

Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
P = Z[0, 0].softmax(dim=-1)
Y = torch.tensor([[0]])


def test_undial_lowers_the_label_of_the_old_distribution(gradient, onehot):
    target = (Z[0, 0] - 10 * onehot(0)).softmax(dim=-1)
    value = undial_loss(Z, Z, Y, 10.0).item()
    assert value == pytest.approx(-(target * P.log()).sum().item(), rel=1e-12)
    torch.testing.assert_close(gradient(lambda z, y: undial_loss(z, Z, y, 10.0))[0, 0], P - target)
    # It is smallest, the target's entropy, where the model has become the target.
    best = undial_loss(Z - 10 * onehot(0), Z, Y, 10.0).item()
    assert best == pytest.approx(-(target * target.log()).sum().item(), rel=1e-12)
    assert best < value


def test_an_ignored_label_lowers_no_logit_of_undial():
    # Released code subtracts beta at index -100, which wraps round to the vocabulary's end.
    logits, reference = torch.randn(1, 2, 120), torch.randn(1, 2, 120)
    labels = torch.tensor([[5, IGNORED]])
    assert undial_loss(logits, reference, labels) == undial_loss(logits[:, :1], reference[:, :1], labels[:, :1])
