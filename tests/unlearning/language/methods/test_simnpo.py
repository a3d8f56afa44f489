"""SimNPO: closed form, and sequences without labels."""

import pytest
import torch

from myosotis.unlearning.language import simnpo_loss


def test_simnpo_closed_form():
    average = torch.tensor([-1.2], dtype=torch.float64, requires_grad=True)
    value = simnpo_loss(average * 10, torch.tensor([10]), beta=2.5)
    value.backward()
    assert value.item() == pytest.approx(0.0388698813, abs=1e-9)
    assert average.grad.item() == pytest.approx(0.0948517464, abs=1e-9)


def test_simnpo_skips_sequences_without_labels():
    both = simnpo_loss(torch.tensor([-12.0, 0.0]), torch.tensor([10, 0]))
    assert both.item() == pytest.approx(0.0388698813, abs=1e-6)
