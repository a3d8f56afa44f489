"""Bootstrap intervals."""

import pytest
import torch
from scipy.stats import binom

from myosotis.evaluation.intervals import bootstrap_mean, clopper_pearson


def test_the_interval_is_about_that_of_the_normal_approximation():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    interval = bootstrap_mean(values, resamples=4000)
    half = 1.96 * values.std().item() / 20
    assert interval.mean == pytest.approx(values.mean().item(), abs=1e-6)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.15)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.15)


def test_grouped_values_count_once():
    values = torch.tensor([0.0, 1.0] * 10)
    groups = [group for group in range(4) for _ in range(5)]
    once = bootstrap_mean(values[::2].repeat_interleave(2), list(range(20)))
    assert once.units == 20
    same = torch.cat([torch.full((5,), float(group % 2)) for group in range(4)])
    grouped, single = bootstrap_mean(same, groups), bootstrap_mean(same)
    assert grouped.units == 4
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


def test_certainty_is_not_claimed_from_few_units():
    none_of_four = bootstrap_mean(torch.zeros(20), [group for group in range(4) for _ in range(5)])
    assert none_of_four.low == 0
    assert none_of_four.high == pytest.approx(0.4899, abs=1e-4)
    one_subject = bootstrap_mean(torch.tensor([0.0, 1.0, 1.0]), ["same"] * 3)
    assert (one_subject.low, one_subject.high, one_subject.units) == (None, None, 1)


def test_missing_values_are_left_out_and_nothing_is_refused():
    interval = bootstrap_mean(torch.tensor([1.0, float("nan"), 3.0]))
    assert (interval.mean, interval.count) == (2.0, 2)
    with pytest.raises(ValueError, match="no value"):
        bootstrap_mean(torch.tensor([float("nan")]))
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean(torch.ones(2), level=1.0)


def test_the_seed_decides():
    values = torch.rand(30, generator=torch.Generator().manual_seed(0))
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


@pytest.mark.parametrize(("trials", "wanted"), [(16, 0.2059), (64, 0.0560), (128, 0.0284)])
def test_clopper_pearson_without_a_hit(trials, wanted):
    low, high = clopper_pearson(0, trials)
    assert low == 0
    assert high == pytest.approx(wanted, abs=5e-5)
    assert clopper_pearson(trials, trials) == (pytest.approx(1 - wanted, abs=5e-5), 1.0)


def test_clopper_pearson_holds_its_tails():
    low, high = clopper_pearson(3, 20)
    assert binom.sf(2, 20, low) == pytest.approx(0.025)
    assert binom.cdf(3, 20, high) == pytest.approx(0.025)
    with pytest.raises(ValueError, match="hits"):
        clopper_pearson(3, 2)
    with pytest.raises(ValueError, match="level"):
        clopper_pearson(1, 2, 1.0)
