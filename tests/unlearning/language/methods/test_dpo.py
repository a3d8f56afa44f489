"""DPO: closed form and direction."""

import math

import pytest
import torch

from myosotis.unlearning.language import dpo_loss


def test_dpo_closed_form_and_direction():
    zero = torch.zeros(1, dtype=torch.float64)
    assert dpo_loss(zero, zero, zero, zero).item() == pytest.approx(math.log(2))
    preferred, rejected = zero.clone().requires_grad_(), zero.clone().requires_grad_()
    dpo_loss(preferred, zero, rejected, zero, beta=0.1).backward()
    assert preferred.grad.item() == pytest.approx(-0.05)
    assert rejected.grad.item() == pytest.approx(0.05)
