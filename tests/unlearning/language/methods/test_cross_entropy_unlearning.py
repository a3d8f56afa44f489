"""CE-U: closed form, gradient, skipped tokens."""

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import build_method, cross_entropy_unlearning_loss
from myosotis.unlearning.language.methods.term import count_units

Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
P = Z[0, 0].softmax(dim=-1)
Y = torch.tensor([[0]])


def test_cross_entropy_unlearning_takes_the_label_out(gradient):
    others = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).softmax(dim=-1)
    value = cross_entropy_unlearning_loss(Z, Y).item()
    assert value == pytest.approx(-(others * P[1:].log()).sum().item(), rel=1e-12)
    grad = gradient(cross_entropy_unlearning_loss)[0, 0]
    torch.testing.assert_close(grad[0], P[0])
    torch.testing.assert_close(grad[1:], P[1:] - P[1:] / (1 - P[0]))
    assert grad.sum().abs() < 1e-12


def test_skipped_tokens_carry_no_loss_and_are_not_counted():
    labels = torch.tensor([[IGNORED, 1, 2, 3]])
    logits = torch.randn(1, 4, 5)
    skipped = cross_entropy_unlearning_loss(logits, labels, skipped=1)
    assert skipped == cross_entropy_unlearning_loss(logits[:, 2:], labels[:, 2:])
    term = build_method("ceu").forget_term()
    assert count_units(term.counted(labels), "token") == 2
