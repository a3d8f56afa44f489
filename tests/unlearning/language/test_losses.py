"""Closed forms, identities and masking of the losses."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from myosotis.unlearning.language import (
    dpo_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    kl_divergence_loss,
    npo_loss,
    sequence_log_probs,
    simnpo_loss,
)

Z = (2.0, 1.0, 0.0, -1.0)


def value_and_gradient(loss, logits, label):
    z = torch.tensor([[logits]], dtype=torch.float64, requires_grad=True)
    value = loss(z, torch.tensor([[label]]))
    value.backward()
    return value.item(), z.grad[0, 0]


@pytest.mark.parametrize(
    ("label", "value", "gradient"),
    [
        (0, 1.4070314417980623, (0.381821, -0.333302, -0.035470, -0.013049)),
        (1, 0.5929685582, (-0.381821, 0.333302, 0.035470, 0.013049)),
        (2, 0.4432300589, (-0.285402, 0.131889, 0.135664, 0.017849)),
        (3, 0.3881443434, (-0.249932, 0.144938, 0.053320, 0.051674)),
    ],
)
def test_inverted_hinge_closed_form(label, value, gradient):
    got, grad = value_and_gradient(inverted_hinge_loss, Z, label)
    assert got == pytest.approx(value, abs=1e-10)
    torch.testing.assert_close(grad, torch.tensor(gradient, dtype=torch.float64), atol=1e-6, rtol=0)


def test_inverted_hinge_gradient_follows_the_formula():
    p = torch.tensor(Z, dtype=torch.float64).softmax(0)
    _, grad = value_and_gradient(inverted_hinge_loss, Z, 2)
    label, runner_up = p[2], p[0]
    expected = p * (runner_up - label)
    expected[2] = label * (1 - label + runner_up)
    expected[0] = -runner_up * (1 - runner_up + label)
    torch.testing.assert_close(grad, expected)


def test_gradient_ascent_closed_form():
    value, grad = value_and_gradient(gradient_ascent_loss, Z, 0)
    assert value == pytest.approx(math.log(0.643914), abs=1e-5)
    torch.testing.assert_close(
        grad, torch.tensor((0.356086, -0.236883, -0.087144, -0.032059), dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_logits_inside_the_unit_interval_are_still_logits():
    value, _ = value_and_gradient(inverted_hinge_loss, (0.9, 0.1, 0.2), 0)
    assert value == pytest.approx(1.25870343, abs=1e-8)


@pytest.mark.parametrize(
    ("z", "hinge", "ascent"), [(8.0, 0.0029357, 0.0016824), (0.0, 0.4465821, 0.9873973), (-8.0, 0.2823125, 1.2289406)]
)
def test_saturation(z, hinge, ascent):
    others = (1.0, 0.0, -1.0)
    assert value_and_gradient(inverted_hinge_loss, (z, *others), 0)[1].norm().item() == pytest.approx(hinge, abs=1e-6)
    assert value_and_gradient(gradient_ascent_loss, (z, *others), 0)[1].norm().item() == pytest.approx(ascent, abs=1e-6)


def test_ties_send_the_gradient_to_one_index():
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
def test_inverted_hinge_invariances(logits, constant, data):
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


def test_top_two_labels_sum_to_two():
    total = sum(value_and_gradient(inverted_hinge_loss, Z, label)[0] for label in (0, 1))
    assert total == pytest.approx(2)


LABEL_LOSSES = {
    "ihl": inverted_hinge_loss,
    "ga": gradient_ascent_loss,
    "kl": lambda logits, labels: kl_divergence_loss(logits, torch.ones_like(logits).cumsum(-1), labels),
    "npo": lambda logits, labels: npo_loss(sequence_log_probs(logits, labels), torch.tensor([-3.0, -4.0])),
}


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_ignored_positions_change_neither_loss_nor_gradient(name):
    loss = LABEL_LOSSES[name]
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 7), torch.randint(7, (2, 4))

    def run(extra):
        kept = logits.clone().requires_grad_()
        padded = torch.cat([extra, kept, extra], dim=1)
        ignored = torch.full(extra.shape[:2], -100)
        value = loss(padded, torch.cat([ignored, labels, ignored], dim=1))
        value.backward()
        return value.detach(), kept.grad

    (value, grad), (other_value, other_grad) = run(torch.randn(2, 3, 7)), run(100 * torch.randn(2, 3, 7))
    assert torch.equal(value, other_value)
    assert torch.equal(grad, other_grad)
    plain = loss(logits, labels)
    torch.testing.assert_close(plain, value, atol=0, rtol=1e-6)
    assert loss(logits, labels.roll(1, dims=1)) != plain or name == "kl"


@pytest.mark.parametrize("reduction", ["token", "sequence", "none"])
@pytest.mark.parametrize("loss", [inverted_hinge_loss, gradient_ascent_loss])
def test_an_all_ignored_batch_is_zero_with_zero_gradient(loss, reduction):
    logits = torch.randn(2, 3, 5, requires_grad=True)
    value = loss(logits, torch.full((2, 3), -100), reduction=reduction)
    value.sum().backward()
    assert not value.any()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_an_all_ignored_kl_is_zero():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    value = kl_divergence_loss(logits, torch.randn(2, 3, 5), torch.full((2, 3), -100))
    value.backward()
    assert value == 0
    assert not logits.grad.any()


def test_reductions_differ_when_lengths_do():
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5, dtype=torch.float64)
    labels = torch.tensor([[1, -100, -100, -100], [0, 1, 2, 3]])
    each = inverted_hinge_loss(logits, labels, reduction="none")
    assert each.shape == (2, 4)
    torch.testing.assert_close(inverted_hinge_loss(logits, labels), each.sum() / 5)
    by_sequence = inverted_hinge_loss(logits, labels, reduction="sequence")
    torch.testing.assert_close(by_sequence, (each[0].sum() + each[1].sum() / 4) / 2)
    assert not torch.isclose(by_sequence, each.sum() / 5)


def test_half_precision_logits_are_softmaxed_in_float32():
    logits = torch.tensor([[[9.0, 0.0, -1.0]]], dtype=torch.bfloat16)
    value = inverted_hinge_loss(logits, torch.tensor([[0]]))
    assert value.dtype == torch.float32
    exact = inverted_hinge_loss(logits.double(), torch.tensor([[0]]))
    assert value.item() == pytest.approx(exact.item(), abs=1e-6)


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


def test_simnpo_closed_form():
    average = torch.tensor([-1.2], dtype=torch.float64, requires_grad=True)
    value = simnpo_loss(average * 10, torch.tensor([10]), beta=2.5)
    value.backward()
    assert value.item() == pytest.approx(0.0388698813, abs=1e-9)
    assert average.grad.item() == pytest.approx(0.0948517464, abs=1e-9)


def test_simnpo_skips_sequences_without_labels():
    both = simnpo_loss(torch.tensor([-12.0, 0.0]), torch.tensor([10, 0]))
    assert both.item() == pytest.approx(0.0388698813, abs=1e-6)


def test_dpo_closed_form_and_direction():
    zero = torch.zeros(1, dtype=torch.float64)
    assert dpo_loss(zero, zero, zero, zero).item() == pytest.approx(math.log(2))
    preferred, rejected = zero.clone().requires_grad_(), zero.clone().requires_grad_()
    dpo_loss(preferred, zero, rejected, zero, beta=0.1).backward()
    assert preferred.grad.item() == pytest.approx(-0.05)
    assert rejected.grad.item() == pytest.approx(0.05)


def test_kl_is_forward_and_averaged_over_labelled_tokens():
    torch.manual_seed(0)
    model, reference = torch.randn(1, 3, 4).double(), torch.randn(1, 3, 4).double()
    labels = torch.tensor([[-100, 1, 2]])
    p0 = reference.softmax(-1)
    expected = (p0 * (p0.log() - model.log_softmax(-1))).sum(-1)[0, 1:].mean()
    torch.testing.assert_close(kl_divergence_loss(model, reference, labels), expected)


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_beta_must_be_positive(beta):
    value = torch.zeros(1)
    with pytest.raises(ValueError, match="beta must be > 0"):
        npo_loss(value, value, beta)


def test_unshifted_shapes_are_refused():
    with pytest.raises((ValueError, TypeError)):
        inverted_hinge_loss(torch.zeros(1, 3, 4), torch.zeros(1, 4, dtype=torch.long))
