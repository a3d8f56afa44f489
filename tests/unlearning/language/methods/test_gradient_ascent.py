"""Gradient ascent: closed form, and how its gradient goes on beside that of IHL."""

import math

import pytest
import torch

from myosotis.unlearning.language import gradient_ascent_loss, inverted_hinge_loss

Z = (2.0, 1.0, 0.0, -1.0)


def test_gradient_ascent_closed_form(value_and_gradient):
    value, grad = value_and_gradient(gradient_ascent_loss, Z, 0)
    assert value == pytest.approx(math.log(0.643914), abs=1e-5)
    torch.testing.assert_close(
        grad, torch.tensor((0.356086, -0.236883, -0.087144, -0.032059), dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("z", "hinge", "ascent"), [(8.0, 0.0029357, 0.0016824), (0.0, 0.4465821, 0.9873973), (-8.0, 0.2823125, 1.2289406)]
)
def test_saturation(z, hinge, ascent, value_and_gradient):
    others = (1.0, 0.0, -1.0)
    assert value_and_gradient(inverted_hinge_loss, (z, *others), 0)[1].norm().item() == pytest.approx(hinge, abs=1e-6)
    assert value_and_gradient(gradient_ascent_loss, (z, *others), 0)[1].norm().item() == pytest.approx(ascent, abs=1e-6)
