"""Tests of :mod:`myosotis.continual.selfsupervised.pnr`."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from myosotis.continual.selfsupervised import contrast
from myosotis.continual.selfsupervised.cassle import cassle_loss
from myosotis.continual.selfsupervised.contrast import EmbeddingQueue, nce
from myosotis.continual.selfsupervised.losses import (
    negative_cosine,
    pairwise_contrast,
    redundancy_reduction,
    variance_invariance_covariance,
)
from myosotis.continual.selfsupervised.pnr import pnr_moco_loss, pnr_regulariser, pnr_simclr_loss


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def units(*values):
    return functional.normalize(rows(*values), dim=1)


def one_sample(temperature, **options):
    """Both views alike, so that both directions are too."""
    q, r, p = rows([1, 0]), rows([0, 1]), rows([0.6, 0.8])
    queue, past = rows([0, 1]), rows([-1, 0])
    return pnr_moco_loss(
        (q, q), (q, q), (p, p), (r, r), (queue, queue), (past, past), temperature, temperature, **options
    )


def two_views():
    """Unit vectors of two samples: q, k, p, r, and both queues, a pair of each."""
    q = units([1, 0, 0], [0, 1, 0]), units([1, 1, 0], [0, 1, 1])
    k = units([1, 0, 1], [0, 2, 1]), units([2, 1, 0], [1, 2, 0])
    p = units([1, 0, 0.5], [0.5, 1, 0]), units([1, 0.5, 0], [0, 1, 0.5])
    r = units([1, 0, -0.5], [0, 1, -0.5]), units([1, 0.2, 0], [0.2, 1, 0])
    current = units([0, 0, 1], [-1, 0, 0]), units([0, -1, 0], [1, -1, 1])
    past = units([0, 1, -1], [1, 1, 1]), units([-1, 1, 0], [0, 0, -1])
    return q, k, p, r, current, past


P, R = (rows([0.6, 0.8]), rows([0.8, 0.6])), (rows([0, 1]), rows([1, 0]))


def drawn(seed, batch=3, dim=4, size=5):
    stream = torch.Generator().manual_seed(seed)

    def some(count):
        return tuple(
            functional.normalize(torch.randn(count, dim, generator=stream, dtype=torch.float64), dim=1)
            for _ in range(2)
        )

    return [some(batch) for _ in range(4)] + [some(size), some(size)]


@pytest.mark.parametrize(
    ("temperature", "plasticity", "stability"),
    [(1.0, 0.4076059644, 0.8094166106), (0.5, 0.1429316285, 0.7230991398), (0.2, 0.0067604435, 0.6936030176)],
)
def test_one_sample(temperature, plasticity, stability):
    found = one_sample(temperature)
    assert found.plasticity.item() == pytest.approx(plasticity, abs=1e-9)
    assert found.stability.item() == pytest.approx(stability, abs=1e-9)


def test_ablations_of_one_sample():
    assert one_sample(1.0, plast_negs="cur").plasticity.item() == pytest.approx(0.3132616875)
    assert one_sample(1.0, stab_negs="past").stability.item() == pytest.approx(0.2204174099)
    assert one_sample(1.0, stab_negs="cur").stability.item() == pytest.approx(0.6931471806)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_orthogonal_vectors(temperature):
    every = torch.eye(12, dtype=torch.float64)
    q, k, p, r = (every[place : place + 1] for place in range(4))
    found = pnr_moco_loss((q, q), (k, k), (p, p), (r, r), (every[4:6],) * 2, (every[6:8],) * 2, temperature)
    assert found.plasticity.item() == pytest.approx(math.log(5))
    assert nce(q, k, every[4:8], temperature).item() == pytest.approx(math.log(5))


def test_two_views():
    q, k, p, r, current, past = two_views()
    found = pnr_moco_loss(*two_views())
    both = torch.cat([current[1], past[1]])
    assert nce(q[0], k[1], both, 0.2).item() == pytest.approx(0.2724090178)
    assert nce(p[0], r[0], both, 0.2).item() == pytest.approx(0.6727122837)
    assert sum(found).item() == pytest.approx(1.3441571231)
    exchanged = pnr_moco_loss(q, k, p, r, current[::-1], past[::-1])
    assert sum(exchanged).item() == pytest.approx(0.8800745535)
    apart = pnr_moco_loss(*two_views(), plast_negs="cur", stab_negs="past")
    assert sum(apart).item() == pytest.approx(0.3790626322)


def test_simclr_of_two_views():
    q, _, p, r, *_ = two_views()
    found = pnr_simclr_loss(q, p, r)
    assert found.plasticity.item() == pytest.approx(1.4039276834)
    assert found.stability.item() == pytest.approx(1.4150457679)
    official = pnr_simclr_loss(q, p, r, positive_in_denominator=False)
    assert official.stability.item() == pytest.approx(1.0872568191)
    one, other = rows([1, 0]), rows([0, 1])
    pairs = (one, one), (one, other), (one, other)
    assert pnr_simclr_loss(*pairs).stability.item() == pytest.approx(0.3549482, abs=1e-6)
    assert pnr_simclr_loss(*pairs, positive_in_denominator=False).stability.item() == pytest.approx(-2.15007, abs=1e-5)
    plain = pairwise_contrast(q[0], q[1], 0.2)
    assert pnr_simclr_loss(q, p, r, plast_negs="cur").plasticity.item() == pytest.approx(plain.item())


def test_regularisers():
    assert pnr_regulariser(P, R, "byol", 1, 0).item() == pytest.approx(0.4)
    assert pnr_regulariser(P, R, "byol", 1, 0.5).item() == pytest.approx(0, abs=1e-12)
    assert pnr_regulariser(P, R, "byol", 1, 1).item() == pytest.approx(-0.4)
    assert pnr_regulariser(P, R, "vicreg", 1, 0).item() == pytest.approx(0.2)
    assert pnr_regulariser(P, R, "vicreg", 25, 23).item() == pytest.approx(-4.2)
    p, r = ((torch.cat([one, -one.flip(1)]) for one in pair) for pair in (P, R))
    p, r = tuple(p), tuple(r)
    push = pnr_regulariser(p, r, "barlow", 1, 1) - pnr_regulariser(p, r, "barlow", 1, 0)
    assert push.item() == pytest.approx(0.6)
    pull = (redundancy_reduction(p[0], r[0]) + redundancy_reduction(p[1], r[1])) / 2
    assert pnr_regulariser(p, r, "barlow", 1, 0).item() == pytest.approx(pull.item())
    weighed = {"off_diagonal": 0.3, "scale": 2.0}
    pull = (redundancy_reduction(p[0], r[0], **weighed) + redundancy_reduction(p[1], r[1], **weighed)) / 2
    assert pnr_regulariser(p, r, "barlow", 1, 0, **weighed).item() == pytest.approx(pull.item())
    assert cassle_loss(p, r, "barlow", **weighed).item() == pytest.approx(pull.item())
    with pytest.raises(ValueError, match="mu must be below lam, got 25 and 25"):
        pnr_regulariser(P, R, "vicreg", 25, 25)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_does_not_change_the_loss(seed):
    q, k, p, r, current, past = drawn(seed)
    plasticity, stability = pnr_moco_loss(q, k, p, r, current, past, 0.2, 0.4)
    close = {"rtol": 1e-10, "atol": 1e-12}

    def same(found, one=plasticity, other=stability):
        torch.testing.assert_close(found.plasticity, one, **close)
        torch.testing.assert_close(found.stability, other, **close)

    same(pnr_moco_loss(q, k, p, r, past, current, 0.2, 0.4))
    swapped = [pair[::-1] for pair in (q, k, p, r, current, past)]
    same(pnr_moco_loss(*swapped, 0.2, 0.4))
    # With roles exchanged the terms are; the positive of one is of the other view, that of the other of the same.
    same(pnr_moco_loss(p, r[::-1], q, k[::-1], current, past, 0.4, 0.2), stability, plasticity)
    order = torch.randperm(3)
    same(pnr_moco_loss(*[tuple(one[order] for one in pair) for pair in (q, k, p, r)], current, past, 0.2, 0.4))
    turned = tuple(one.flip(0) for one in current)
    same(pnr_moco_loss(q, k, p, r, turned, past, 0.2, 0.4))
    more = tuple(torch.cat([one, other[:1]]) for one, other in zip(current, past, strict=True))
    larger = pnr_moco_loss(q, k, p, r, more, past, 0.2, 0.4)
    assert larger.plasticity > plasticity
    assert larger.stability > stability
    nothing = tuple(one[:0] for one in past)
    alone = pnr_moco_loss(q, k, p, r, current, nothing, 0.2, 0.4)
    assert alone.plasticity < plasticity
    plain = (nce(q[0], k[1], current[1], 0.2) + nce(q[1], k[0], current[0], 0.2)) / 2
    torch.testing.assert_close(alone.plasticity, plain, **close)
    apart = pnr_moco_loss(q, k, p, r, current, past, 0.2, 0.4, "cur", "past")
    torch.testing.assert_close(apart.plasticity, plain, **close)


def test_the_same_negatives_twice():
    q, k, *_, current, _ = drawn(1)
    once = nce(q[0], k[1], current[1], 0.2)
    each = (q[0] @ current[1].T / 0.2).logsumexp(1) - (q[0] * k[1]).sum(1) / 0.2
    torch.testing.assert_close(once, each.exp().log1p().mean())
    twice = nce(q[0], k[1], torch.cat([current[1], current[1]]), 0.2)
    torch.testing.assert_close(twice, (2 * each.exp()).log1p().mean())


def test_gradients_reach_what_learns_alone():
    q, k, p, r, current, past = drawn(2)
    for pair in (q, k, p, r, current, past):
        for one in pair:
            one.requires_grad_()
    plasticity, stability = pnr_moco_loss(q, k, p, r, current, past)
    plasticity.backward(retain_graph=True)
    assert p[0].grad is None
    assert q[0].grad.abs().sum() > 0
    stability.backward()
    assert p[0].grad.abs().sum() > 0
    assert all(one.grad is None for pair in (k, r, current, past) for one in pair)
    anchor = rows([1, 0]).requires_grad_()
    nce(anchor, rows([1, 0]), rows([0, 1], [-1, 0]), 1.0).backward()
    assert anchor.grad[0].tolist() == pytest.approx([-0.424790, 0.244728], abs=1e-6)


def test_excluded_negatives_do_not_count():
    q, k, p, r, current, past = drawn(3)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 2] = True
    found = nce(q[0], k[1], current[1], 0.2, mask)
    left = current[1][[0, 1, 3, 4]]
    parts = [nce(q[0][:1], k[1][:1], left, 0.2), nce(q[0][1:], k[1][1:], current[1], 0.2)]
    torch.testing.assert_close(found, (parts[0] + 2 * parts[1]) / 3)
    whole = pnr_moco_loss(q, k, p, r, current, past, current_excluded=mask)
    nowhere = pnr_moco_loss(q, k, p, r, current, past, current_excluded=torch.zeros_like(mask))
    assert whole.plasticity < nowhere.plasticity
    assert nowhere == pnr_moco_loss(q, k, p, r, current, past)
    with pytest.raises(ValueError, match="must be positive"):
        nce(q[0], k[1], current[1], 0.0)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_and_many_negatives(half):
    anchor = functional.normalize(torch.randn(2, 8), dim=1).to(half)
    many = functional.normalize(torch.randn(131072, 8), dim=1).to(half)
    with torch.autocast("cpu", torch.bfloat16):
        found = nce(anchor, anchor, many, 0.05)
    assert found.dtype == torch.float32
    assert found.isfinite()
    q, _, p, r, *_ = drawn(4)
    for loss in (
        lambda a, b: pairwise_contrast(a, b, 0.2),
        negative_cosine,
        redundancy_reduction,
        variance_invariance_covariance,
    ):
        assert loss(q[0].to(half), q[1].to(half)).dtype == torch.float32
    assert pnr_simclr_loss(*[tuple(one.to(half) for one in pair) for pair in (q, p, r)]).stability.isfinite()


def test_a_push_after_the_loss_changes_no_gradient():
    queue, anchor = EmbeddingQueue(4, 2), torch.tensor([[0.6, 0.8]], requires_grad=True)
    assert queue.negatives(0).numel() == 0
    queue.push((units([0.1, 0.9], [0.4, 0.7]).float(),) * 2)
    (expected,) = torch.autograd.grad(nce(anchor, anchor.detach(), queue.negatives(0).clone(), 0.2), anchor)
    loss = nce(anchor, anchor.detach(), queue.negatives(0), 0.2)
    queue.push((units([2.0, 3.0], [0.0, 1.0], [1.0, 0.0]).float(),) * 2)
    torch.testing.assert_close(torch.autograd.grad(loss, anchor)[0], expected)


def test_chunks_of_negatives_give_the_loss_of_all(monkeypatch):
    draw = torch.Generator().manual_seed(0)
    anchor, positive, one, two = (torch.randn(count, 4, generator=draw, dtype=torch.float64) for count in (5, 5, 7, 3))
    anchor.requires_grad_()
    mask = torch.rand(5, 7, generator=draw) < 0.4
    wrong = torch.cat([(anchor @ one.T / 0.3).masked_fill(mask, -torch.inf), anchor @ two.T / 0.3], dim=1)
    correct = (anchor * positive).sum(1, keepdim=True) / 0.3
    expected = (torch.cat([correct, wrong], dim=1).logsumexp(1) - correct[:, 0]).mean()
    for size in (1, 2, 7, 100):
        monkeypatch.setitem(contrast._CHUNK, "cpu", size)
        found = nce(anchor, positive, [one, two], 0.3, [mask, None])
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(
            torch.autograd.grad(found, anchor)[0], torch.autograd.grad(expected, anchor, retain_graph=True)[0]
        )
        assert torch.autograd.gradcheck(lambda a: nce(a, positive, [one, two], 0.3, [mask, None]), anchor)
