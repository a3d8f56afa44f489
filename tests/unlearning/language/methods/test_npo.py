"""NPO: closed form, and its gradient at the reference."""

import pytest
import torch

from myosotis.unlearning.language import gradient_ascent_loss, npo_loss, sequence_log_probs


@pytest.mark.parametrize(
    ("beta", "at_reference", "ten_below"), [(0.1, 13.862943611198906, 0.5378828427), (1.0, 1.3862943611, 9.0796e-5)]
)
def test_npo_closed_form(beta, at_reference, ten_below):
    log_prob = torch.tensor([-20.0], dtype=torch.float64, requires_grad=True)
    value = npo_loss(log_prob, log_prob.detach(), beta)
    value.backward()
    assert value.item() == pytest.approx(at_reference, abs=1e-9)
    assert log_prob.grad.item() == pytest.approx(1.0)
    log_prob.grad = None
    npo_loss(log_prob, log_prob.detach() + 10, beta).backward()
    assert log_prob.grad.item() == pytest.approx(ten_below, rel=1e-4)


def test_npo_at_the_reference_has_the_gradient_of_ascent_on_the_sequence_sum():
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 6, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(6, (1, 5))
    log_probs = sequence_log_probs(logits, labels)
    (npo,) = torch.autograd.grad(npo_loss(log_probs, log_probs.detach()), logits, retain_graph=True)
    (ascent,) = torch.autograd.grad(gradient_ascent_loss(logits, labels, "none").sum(), logits)
    torch.testing.assert_close(npo, ascent)


def test_npo_tends_to_ascent_for_small_beta():
    log_prob = torch.tensor([-7.0], dtype=torch.float64, requires_grad=True)
    npo_loss(log_prob, torch.tensor([-2.0], dtype=torch.float64), 1e-8).backward()
    assert log_prob.grad.item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_beta_must_be_positive(beta):
    value = torch.zeros(1)
    with pytest.raises(ValueError, match="beta must be > 0"):
        npo_loss(value, value, beta)
