"""Losses and parts of single methods, against their formulas."""

import math

import pytest
import torch
from torch.nn import functional

from myosotis.continual.classification.methods.bic import BiasCorrectedNet
from myosotis.continual.classification.methods.dark_er import LogitReservoir
from myosotis.continual.classification.methods.ewc import fisher_diagonal
from myosotis.continual.classification.methods.foster import class_weights
from myosotis.continual.classification.methods.lucir import margin_ranking
from myosotis.continual.classification.methods.podnet import nca_loss
from myosotis.continual.classification.methods.ssil import separated_softmax
from myosotis.continual.classification.methods.wa import align_rows
from myosotis.models.backbone import build_backbone
from myosotis.models.heads import CosineHead, LinearHead, ProxyHead
from myosotis.models.image_classifier import ClassifierSpec

SPEC = ClassifierSpec(
    "small-resnet", 0, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}, tuple("abcdef")
)


def close(value, wanted, tolerance=1e-6):
    assert torch.as_tensor(value).item() == pytest.approx(wanted, abs=tolerance)


def test_separated_softmax():
    logits = torch.tensor([[2.0, 0, 1, 3]])
    close(separated_softmax(logits, torch.tensor([0]), 2), 0.126928)
    close(functional.cross_entropy(logits, torch.tensor([0])), 1.440190)
    leaf = logits.clone().requires_grad_()
    separated_softmax(leaf, torch.tensor([3]), 2).backward()
    # A new sample says nothing about old classes.
    assert leaf.grad[0, :2].tolist() == [0, 0]
    pair = torch.cat([logits, logits])
    close(separated_softmax(pair, torch.tensor([0, 3]), 2), 0.126928)
    close(separated_softmax(logits, torch.tensor([3]), 0), functional.cross_entropy(logits, torch.tensor([3])).item())


def test_margin_ranking():
    cosines = torch.tensor([[0.9, 0.1, 0.3, 0.6, 0.2], [0.2, 0.1, 0.9, 0.0, 0.0]])
    # Sample 0: true 0.9 against the hardest new 0.6 and 0.3; sample 1 is new and does not count.
    close(margin_ranking(cosines, torch.tensor([0, 2]), 2, 2, 0.5), (0.2 + 0.0) / 2)
    close(margin_ranking(cosines, torch.tensor([1, 2]), 2, 2, 0.5), (1.0 + 0.7) / 2)
    assert margin_ranking(cosines, torch.tensor([2, 3]), 2, 2, 0.5) == 0


def test_nca():
    similarities = torch.tensor([[0.5, 0.2, -0.1]])
    scale = torch.tensor(4.0, requires_grad=True)
    loss = nca_loss(similarities, torch.tensor([0]), scale, 0.6)
    close(loss, math.log(math.exp(0.8) + math.exp(-0.4)) - 4 * (0.5 - 0.6))
    loss.backward()
    assert scale.grad.isfinite()
    whole = nca_loss(similarities, torch.tensor([0]), scale, 0.6, exclude_true=False)
    shifted = torch.tensor([[4 * (0.5 - 0.6), 0.8, -0.4]])
    close(whole.detach(), functional.cross_entropy(shifted, torch.tensor([0])).item())
    # Two classes: nothing keeps the scale away from zero.
    assert nca_loss(similarities[:, :2], torch.tensor([0]), torch.tensor(0.0), 0.6) == 0
    # Never below nothing.
    assert nca_loss(torch.tensor([[1.0, -1.0]]), torch.tensor([0]), torch.tensor(9.0), 0.0) == 0


def test_weights_of_classes_and_aligned_rows():
    assert class_weights(torch.tensor([20, 20, 500, 500]), 0.97).tolist() == pytest.approx(
        [1.373432, 1.373432, 0.626568, 0.626568], abs=1e-6
    )
    rows = torch.tensor([[3.0, 4], [0, 2], [6, 8], [5, 12]])
    close(align_rows(rows, 2), 0.304348)
    assert rows[2:].flatten().tolist() == pytest.approx([1.826087, 2.434783, 1.521739, 3.652174], abs=1e-6)
    close(align_rows(rows, 2), 1.0)
    close(rows[2:].norm(dim=1).mean(), rows[:2].norm(dim=1).mean().item())


def test_fisher_information_squares_single_gradients(Line):
    # At 0 the gradient of a sample is (p - onehot) x = -x / 2 for class 0.
    images = torch.tensor([1.0, -1.0, 3.0]).view(3, 1, 1, 1) * 2
    batches = [(images[:2], torch.zeros(2).long()), (images[2:], torch.zeros(1).long())]
    found = fisher_diagonal(Line(), batches)
    close(found["weight"], 11 / 3)
    assert abs(float(found["weight"]) - 1.0) > 1  # the squared mean gradient would be 1


def test_the_corrections_of_bias():
    net = BiasCorrectedNet(build_backbone(SPEC), LinearHead(8))
    for count in (2, 1):
        net.grow(count, torch.Generator().manual_seed(0))
    with torch.no_grad():
        net.pairs[0].copy_(torch.tensor([2.0, 1.0]))
        net.pairs[1].copy_(torch.tensor([0.5, -1.0]))
    assert net.correct(torch.tensor([[1.0, 2.0, 4.0]])).tolist() == [[3.0, 5.0, 1.0]]
    assert not any(pair.requires_grad for pair in net.pairs)


@pytest.mark.parametrize("head", [LinearHead(5), CosineHead(5, 3.0), ProxyHead(5, 4, 3.0)])
def test_heads_keep_old_rows(head):
    head.grow(3, torch.Generator().manual_seed(0))
    features = torch.randn(6, 5)
    before = head(features)
    head.grow(2, torch.Generator().manual_seed(1))
    torch.testing.assert_close(head(features)[:, :3], before)
    assert head(features).shape == (6, 5)
    assert head.num_classes == 5
    if not isinstance(head, LinearHead):
        assert head(features).abs().max() <= 3.0001
        torch.testing.assert_close(head(features * 7), head(features))


def test_a_scale_below_zero_turns_nothing_upside_down():
    for head in (CosineHead(4, 2.0), ProxyHead(4, 3, 2.0)):
        head.grow(3, torch.Generator())
        features = torch.randn(5, 4)
        before = head(features)
        with torch.no_grad():
            head.scale.neg_()
        assert head(features).equal(before)


def test_one_proxy_is_a_cosine():
    proxies, cosine = ProxyHead(4, 1, 2.0), CosineHead(4, 2.0)
    for head in (proxies, cosine):
        head.grow(3, torch.Generator())
    with torch.no_grad():
        cosine.weight.copy_(proxies.weight[:, 0])
    features = torch.randn(5, 4)
    torch.testing.assert_close(proxies(features), cosine(features))


def test_a_reservoir_of_answers():
    reservoir = LogitReservoir(3, seed=0)
    reservoir.observe(torch.tensor([4, 7]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert reservoir.stored_logits(torch.tensor([7, 4])).tolist() == [[3.0, 4.0], [1.0, 2.0]]
    reservoir.observe(torch.tensor([9]), torch.tensor([[5.0, 6.0, 7.0]]))
    found = reservoir.stored_logits(torch.tensor([4, 9, 11]))
    assert found[1].tolist() == [5.0, 6.0, 7.0]
    assert found[0].isnan().tolist() == [False, False, True]
    assert bool(found[2].isnan().all())
    kept = torch.zeros(20)
    for seed in range(300):
        one = LogitReservoir(5, seed)
        for part in torch.arange(20).split(4):
            one.observe(part, torch.zeros(4, 1))
        assert len(one.indices) == 5
        kept[one.indices] += 1
    assert (kept / 300 - 0.25).abs().max() < 0.1
