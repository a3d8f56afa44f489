"""Values against others of their strata, by hand and against scipy."""

import math

import pytest
import torch
from scipy.stats import t, ttest_ind

from myosotis.evaluation.intervals import mean_interval, student_difference
from myosotis.evaluation.stratified import matched


def test_each_value_is_compared_with_its_own_stratum():
    side = matched(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.0, 4.0, 10.0, 5.0]), "aab", "aabc")
    assert (side.expected.tolist(), side.strata, side.other_strata) == ([2, 2, 10], ("a", "a", "b"), ("a", "a", "b"))
    assert side.level == pytest.approx((2 + 2 + 10) / 3)
    assert side.weights.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert side.difference(0.95).mean == pytest.approx((-1 + 0 - 1) / 3)
    assert matched(torch.ones(1), torch.ones(1), "a", "b") is None
    with pytest.raises(ValueError, match="one stratum per value"):
        matched(torch.ones(2), torch.ones(1), "a", "b")


def test_a_single_stratum_is_welchs_interval():
    stream = torch.Generator().manual_seed(0)
    values, others = torch.randn(9, generator=stream), 2 * torch.randn(20, generator=stream) + 0.3
    found = matched(values, others, "a" * 9, "a" * 20).difference(0.95)
    plain = student_difference(values, others, level=0.95)
    expected = ttest_ind(values.double(), others.double(), equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))


def test_the_level_weighs_strata_as_the_values_do():
    # Three of four values are of stratum a: its two others weigh 3/8 each, the two of b 1/8.
    side = matched(torch.zeros(4), torch.tensor([0.0, 1.0, 4.0, 6.0]), "aaab", "aabb")
    found = side.level_interval(0.95)
    parts = [(3 / 4) ** 2 * 0.5 / 2, (1 / 4) ** 2 * 2 / 2]
    half = t.ppf(0.975, sum(parts) ** 2 / sum(part**2 for part in parts)) * math.sqrt(sum(parts))
    assert found.mean == pytest.approx(3 / 4 * 0.5 + 1 / 4 * 5)
    assert found.high - found.mean == pytest.approx(half)


def test_shares_of_equal_weight_have_the_plain_interval():
    right = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    plain = mean_interval(right)
    found = matched(torch.zeros(2), right, "ab", "aaabbb").share_interval(0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((plain.mean, plain.low, plain.high))
    # All right: still not certain.
    assert matched(torch.zeros(2), torch.ones(6), "ab", "aaabbb").share_interval(0.95).low < 0.6


def test_without_a_variance_there_is_no_interval():
    lone = matched(torch.ones(2), torch.zeros(2), "ab", "ab")
    assert (lone.difference(0.95).low, lone.level_interval(0.95).low) == (None, None)
    assert matched(torch.ones(1), torch.zeros(2), "a", "aa").difference(0.95).low is None
    # A stratum with a single one of the others takes the variance of the rest.
    pooled = matched(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 1.0, 3.0]), "ab", "aab")
    assert pooled.level_interval(0.95).low is not None


def test_the_interval_of_a_difference_covers():
    stream = torch.Generator().manual_seed(1)
    hits = 0
    for _ in range(400):
        classes = torch.randint(0, 4, (24,), generator=stream)
        others = torch.randint(0, 4, (80,), generator=stream)
        draw = lambda labels: labels * 2.0 + (1 + labels) * torch.randn(len(labels), generator=stream)  # noqa: E731
        found = matched(draw(classes) + 0.5, draw(others), classes.tolist(), others.tolist()).difference(0.9)
        hits += found.low <= 0.5 <= found.high
    assert 0.86 < hits / 400 < 0.95
