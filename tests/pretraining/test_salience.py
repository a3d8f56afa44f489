"""Salience and the adaptive ratio by hand."""

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.pretraining.salience import (
    adaptive_ratio,
    rank_interval,
    received_affinity,
    token_salience,
    unit_interval,
)

FOUR = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])


def test_salience_of_four_tokens_by_hand():
    received = received_affinity(FOUR)[0]
    assert received.tolist() == pytest.approx([1.8884, 0.7649, 0.8236, 0.5231], abs=1e-4)
    assert received.sum().item() == pytest.approx(4)
    assert token_salience(FOUR)[0].tolist() == pytest.approx([1, 0.1771, 0.2201, 0], abs=1e-4)


def test_the_scale_divides_and_decides_the_order():
    for scale in (2**0.5, "sqrt_dim"):
        assert token_salience(FOUR, scale=scale)[0].tolist() == pytest.approx([1, 0.2435, 0.1905, 0], abs=1e-4)


def test_columns_are_summed_not_rows():
    # Tokens whose affinities are the logarithms of a known matrix: rows .7 .2 .1, .5 .3 .2, .6 .1 .3.
    wanted = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.6, 0.1, 0.3]])
    assert unit_interval(wanted.sum(dim=0, keepdim=True)).tolist() == [[1, 0, 0]]
    scores = FOUR[0] @ FOUR[0].T
    rows = [[(value - row.max()).exp() for value in row] for row in scores]
    by_hand = [sum((rows[i][j] / sum(rows[i])).item() for i in range(4)) for j in range(4)]
    assert received_affinity(FOUR)[0].tolist() == pytest.approx(by_hand, abs=1e-6)


def test_a_token_may_be_kept_from_reading_itself():
    scores = FOUR[0] @ FOUR[0].T
    by_hand = [0.0] * 4
    for i in range(4):
        others = [j for j in range(4) if j != i]
        total = sum(scores[i, j].exp().item() for j in others)
        for j in others:
            by_hand[j] += scores[i, j].exp().item() / total
    assert received_affinity(FOUR, exclude_self=True)[0].tolist() == pytest.approx(by_hand, abs=1e-6)


@given(st.integers(0, 10_000))
def test_permutations_are_followed_and_rotations_ignored(seed):
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 12, 5, generator=stream)
    order = torch.randperm(12, generator=stream)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=stream)).Q
    plain = token_salience(x)
    assert torch.allclose(token_salience(x[:, order]), plain[:, order], atol=1e-4)
    assert torch.allclose(token_salience(x @ rotation), plain, atol=1e-3)
    assert torch.allclose(plain[:1], token_salience(x[:1]), atol=1e-6)


def test_shifts_and_scales_are_not_ignored():
    x = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0))
    assert (token_salience(x + 1.5) - token_salience(x)).abs().max() > 0.1
    small, large = received_affinity(x * 0.01), received_affinity(x * 30)
    assert small.min() > 0.999
    assert small.max() < 1.001
    assert torch.allclose(large, large.round(), atol=1e-3)


def test_identical_tokens_have_no_salience():
    x = torch.full((2, 9, 7), 0.37)
    assert token_salience(x).eq(0).all()
    assert token_salience(torch.cat([x, torch.randn(1, 9, 7)])).isfinite().all()
    assert rank_interval(received_affinity(torch.rand(1, 1, 64).expand(2, 49, 64))).eq(0.5).all()


def test_autocast_does_not_round_salience():
    x = torch.randn(2, 16, 384, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        inside = token_salience(x)
    assert inside.equal(token_salience(x))
    assert inside.dtype == torch.float32


def test_no_gradient_flows_through_salience():
    x = torch.randn(1, 4, 3, requires_grad=True)
    assert not token_salience(x).requires_grad


def test_a_scale_must_be_positive():
    with pytest.raises(ValueError, match="must be positive, got 0"):
        token_salience(FOUR, scale=0.0)


def test_adaptive_ratio_of_four_tokens_by_hand():
    salience = token_salience(FOUR)
    found = [adaptive_ratio(salience, 0.75, 0.1, level).item() for level in (0.1, 0.2, 0.5, 1.0)]
    assert found == pytest.approx([0.8, 0.75, 0.7, 0.65])


@pytest.mark.parametrize(("count", "ratio"), [(1, 0.65408), (10, 0.69082), (24, 0.74796), (25, 0.75204), (48, 0.84592)])
def test_adaptive_ratio_grows_with_the_salient_tokens(count, ratio):
    salience = torch.zeros(1, 49)
    salience[:, :count] = 1.0
    assert adaptive_ratio(salience, 0.75, 0.1).item() == pytest.approx(ratio, abs=1e-5)
    assert adaptive_ratio(salience, 0.75, 0.0).item() == pytest.approx(0.75)


def test_the_threshold_is_strict_and_may_be_the_mean():
    salience = torch.tensor([[0.5, 0.5, 1.0, 0.0]])
    assert adaptive_ratio(salience, 0.5, 0.2).item() == pytest.approx(0.3 + 0.4 / 4)
    skewed = torch.tensor([[1.0, 0.1, 0.1, 0.0]])
    assert adaptive_ratio(skewed, 0.5, 0.2, "mean").item() == pytest.approx(0.3 + 0.4 / 4)
    low = torch.tensor([[1.0, 0.9, 0.1, 0.0]])
    assert adaptive_ratio(low, 0.5, 0.2, "mean").item() == pytest.approx(0.5)


def test_a_ratio_for_the_batch_or_for_each_image():
    salience = torch.zeros(2, 49)
    salience[0, :1], salience[1, :48] = 1.0, 1.0
    assert adaptive_ratio(salience, 0.75, 0.1).tolist() == pytest.approx([0.65408, 0.84592], abs=1e-5)
    assert adaptive_ratio(salience, 0.75, 0.1, scope="batch").tolist() == pytest.approx([0.75, 0.75])


@pytest.mark.parametrize(("base", "spread"), [(0.75, 0.3), (0.1, 0.2), (0.5, -0.1)])
def test_a_spread_must_stay_inside(base, spread):
    with pytest.raises(ValueError, match="exceeds \\[0, 1\\]"):
        adaptive_ratio(token_salience(FOUR), base, spread)
