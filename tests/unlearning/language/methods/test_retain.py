"""Retain terms: the divergence from the model before unlearning."""

import torch

from myosotis.unlearning.language import kl_divergence_loss


def test_an_all_ignored_kl_is_zero():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    value = kl_divergence_loss(logits, torch.randn(2, 3, 5), torch.full((2, 3), -100))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_kl_is_forward_and_averaged_over_labelled_tokens():
    torch.manual_seed(0)
    model, reference = torch.randn(1, 3, 4).double(), torch.randn(1, 3, 4).double()
    labels = torch.tensor([[-100, 1, 2]])
    p0 = reference.softmax(-1)
    expected = (p0 * (p0.log() - model.log_softmax(-1))).sum(-1)[0, 1:].mean()
    torch.testing.assert_close(kl_divergence_loss(model, reference, labels), expected)
