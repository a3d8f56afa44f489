"""IHL: closed forms, the gradient by formula, invariances."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from myosotis.unlearning.language import inverted_hinge_loss

Z = (2.0, 1.0, 0.0, -1.0)


@pytest.mark.parametrize(
    ("label", "value", "gradient"),
    [
        (0, 1.4070314417980623, (0.381821, -0.333302, -0.035470, -0.013049)),
        (1, 0.5929685582, (-0.381821, 0.333302, 0.035470, 0.013049)),
        (2, 0.4432300589, (-0.285402, 0.131889, 0.135664, 0.017849)),
        (3, 0.3881443434, (-0.249932, 0.144938, 0.053320, 0.051674)),
    ],
)
def test_inverted_hinge_closed_form(label, value, gradient, value_and_gradient):
    got, grad = value_and_gradient(inverted_hinge_loss, Z, label)
    assert got == pytest.approx(value, abs=1e-10)
    torch.testing.assert_close(grad, torch.tensor(gradient, dtype=torch.float64), atol=1e-6, rtol=0)


def test_inverted_hinge_gradient_follows_the_formula(value_and_gradient):
    p = torch.tensor(Z, dtype=torch.float64).softmax(0)
    _, grad = value_and_gradient(inverted_hinge_loss, Z, 2)
    label, runner_up = p[2], p[0]
    expected = p * (runner_up - label)
    expected[2] = label * (1 - label + runner_up)
    expected[0] = -runner_up * (1 - runner_up + label)
    torch.testing.assert_close(grad, expected)


def test_logits_inside_the_unit_interval_are_still_logits(value_and_gradient):
    value, _ = value_and_gradient(inverted_hinge_loss, (0.9, 0.1, 0.2), 0)
    assert value == pytest.approx(1.25870343, abs=1e-8)


def test_ties_send_the_gradient_to_one_index(value_and_gradient):
    value, grad = value_and_gradient(inverted_hinge_loss, (0.0,) * 5, 3)
    assert value == pytest.approx(1.0)
    assert grad[3].item() == pytest.approx(0.2)
    assert sorted(grad.tolist())[0] == pytest.approx(-0.2)
    assert (grad.abs() > 1e-12).sum() == 2


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(-50, 50).map(lambda z: z / 10), min_size=3, max_size=8, unique=True),
    st.floats(-3, 3),
    st.data(),
)
def test_inverted_hinge_invariances(value_and_gradient, logits, constant, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    value, grad = value_and_gradient(inverted_hinge_loss, logits, label)
    assert 0 <= value <= 2
    assert grad.sum().item() == pytest.approx(0, abs=1e-12)
    shifted, _ = value_and_gradient(inverted_hinge_loss, [z + constant for z in logits], label)
    assert shifted == pytest.approx(value, abs=1e-9)
    order = data.draw(st.permutations(range(len(logits))))
    permuted, permuted_grad = value_and_gradient(inverted_hinge_loss, [logits[i] for i in order], order.index(label))
    assert permuted == pytest.approx(value, abs=1e-12)
    torch.testing.assert_close(permuted_grad, grad[list(order)])


def test_top_two_labels_sum_to_two(value_and_gradient):
    total = sum(value_and_gradient(inverted_hinge_loss, Z, label)[0] for label in (0, 1))
    assert total == pytest.approx(2)


def test_half_precision_logits_are_softmaxed_in_float32():
    logits = torch.tensor([[[9.0, 0.0, -1.0]]], dtype=torch.bfloat16)
    value = inverted_hinge_loss(logits, torch.tensor([[0]]))
    assert value.dtype == torch.float32
    exact = inverted_hinge_loss(logits.double(), torch.tensor([[0]]))
    assert value.item() == pytest.approx(exact.item(), abs=1e-6)


def test_unshifted_shapes_are_refused():
    with pytest.raises((ValueError, TypeError)):
        inverted_hinge_loss(torch.zeros(1, 3, 4), torch.zeros(1, 4, dtype=torch.long))
