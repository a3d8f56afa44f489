"""What all losses on tokens share: ignored positions and reductions."""

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import (
    cross_entropy_unlearning_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    kl_divergence_loss,
    logit_flattening_loss,
    npo_loss,
    saturation_importance_loss,
    sequence_log_probs,
    undial_loss,
    weighted_ascent_loss,
)

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


LOSSES = {
    "wga": weighted_ascent_loss,
    "satimp": saturation_importance_loss,
    "ceu": cross_entropy_unlearning_loss,
    "pdu": logit_flattening_loss,
    "undial": lambda logits, labels, reduction="token": undial_loss(
        logits, torch.zeros_like(logits), labels, 3.0, reduction
    ),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_prompt_and_padding_change_neither_loss_nor_gradient(name, reduction, gradient):
    loss = LOSSES[name]
    torch.manual_seed(0)
    labels = torch.tensor([[IGNORED, IGNORED, 3, 4, IGNORED], [IGNORED, 2, 1, 0, 5]])
    logits = torch.randn(2, 5, 9, dtype=torch.float64)
    other = torch.where((labels == IGNORED)[..., None], torch.randn_like(logits) * 5, logits)
    assert loss(logits, labels, reduction=reduction) == loss(other, labels, reduction=reduction)
    first, second = (gradient(lambda z, y: loss(z, y, reduction=reduction), each, labels) for each in (logits, other))
    assert torch.equal(first, second)
    assert first[labels == IGNORED].abs().max() == 0
    # Another place of the labels is another loss: nothing here is off by one.
    assert loss(logits, labels.roll(1, dims=1), reduction=reduction) != loss(logits, labels, reduction=reduction)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_label_gives_zero_and_no_gradient(name):
    labels = torch.full((1, 3), IGNORED)
    logits = torch.randn(1, 3, 4, requires_grad=True)
    value = LOSSES[name](logits, labels)
    value.backward()
    assert value == 0
    assert logits.grad.abs().max() == 0
