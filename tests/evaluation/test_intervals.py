"""Intervals of means, differences and ratios over groups."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.stats import binom, norm, t, ttest_1samp, ttest_ind

from myosotis.evaluation.intervals import (
    change_interval,
    clopper_pearson,
    difference_interval,
    mean_interval,
    ratio_interval,
    student_change,
    student_difference,
    student_interval,
    t_interval,
)

SHARES = st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12)


def wilson(p, n, q):
    """The score interval as the roots of (p - x)^2 = q^2 x (1 - x) / n."""
    a, b, c = 1 + q * q / n, -(2 * p + q * q / n), p * p
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def test_single_values_have_wilsons_interval_with_students_quantile():
    values = torch.tensor([1.0] * 30 + [0.0] * 70)
    found = mean_interval(values)
    # One value a group: p (1 - p) / v is the number of values less one.
    expected = wilson(0.3, 99, 1.9842169515086827)
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.mean, found.count, found.units) == (pytest.approx(0.3), 100, 100)


def test_groups_that_agree_within_count_once():
    groups = [group for group in range(20) for _ in range(5)]
    values = torch.tensor([float(group < 6) for group in groups])
    assert mean_interval(values, groups).high == pytest.approx(mean_interval(values[::5]).high)
    spread = values[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    grouped, wide = mean_interval(spread, groups), mean_interval(values, groups)
    assert grouped.high - grouped.low < 0.7 * (wide.high - wide.low)


def test_no_hit_among_few_groups_is_no_certainty():
    none_of_four = mean_interval(torch.zeros(20), [group for group in range(4) for _ in range(5)])
    assert none_of_four.low == 0
    assert none_of_four.high == pytest.approx(wilson(0, 4, 3.1824463052842624)[1])
    all_of_four = mean_interval(torch.ones(20), [group for group in range(4) for _ in range(5)])
    assert all_of_four.low == pytest.approx(1 - none_of_four.high)
    assert all_of_four.high == 1
    # One group that is hardly a value more than nothing must not make the others certain.
    nearly = mean_interval(torch.tensor([1e-3, 0.0, 0.0, 0.0]))
    assert nearly.high > 0.5


def test_a_single_group_has_no_interval():
    found = mean_interval(torch.tensor([0.0, 1.0, 1.0]), ["same"] * 3)
    assert (found.low, found.high, found.units, found.count) == (None, None, 1, 3)
    assert student_interval(torch.tensor([2.0, 3.0]), [0, 0]).low is None


def test_repeating_records_adds_nothing():
    values, groups = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0]), list("abcde")
    once = mean_interval(values, groups)
    copies = mean_interval(values.repeat(40), groups * 40)
    assert (copies.low, copies.high) == pytest.approx((once.low, once.high), abs=0.02)
    # Without the groups, forty copies pass for two hundred observations.
    naive = mean_interval(values.repeat(40))
    assert naive.high - naive.low < 0.3 * (copies.high - copies.low)


def test_a_group_weighs_as_one_whatever_its_size():
    # 95 records of one person are right, one record each of four others is wrong.
    found = mean_interval(torch.tensor([1.0] * 95 + [0.0] * 4), [0] * 95 + [1, 2, 3, 4])
    assert (found.mean, found.units, found.count) == (pytest.approx(0.2), 5, 99)
    assert found.high - found.low > 0.7
    assert student_interval(torch.tensor([1.0, 1.0, 4.0]), [0, 0, 1]).mean == 2.5


@pytest.mark.parametrize("records", [2, 5, 9])
@pytest.mark.parametrize("people", [5, 20, 45])
def test_what_one_or_two_people_lose_does_not_make_a_figure_more_certain(people, records):
    values, groups = torch.ones(people * records), [person for person in range(people) for _ in range(records)]
    last = mean_interval(values, groups).low
    for person in (0, 0, 1):
        values[person * records + int(values[person * records] == 0)] = 0
        low = mean_interval(values, groups).low
        assert low <= last + 1e-12
        assert mean_interval(1 - values, groups).high == pytest.approx(1 - low)
        last = low


def test_the_difference_of_continuous_values_is_welchs():
    first, second = torch.tensor([0.3, 0.5, 0.9, 0.4]), torch.tensor([0.1, 0.2, 0.15])
    expected = ttest_ind(first.double().numpy(), second.double().numpy(), equal_var=False).confidence_interval(0.9)
    found = student_difference(first, second, level=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)
    # Copies of a record within its group change nothing.
    again = student_difference(first.repeat(3), second, [0, 1, 2, 3] * 3, level=0.9)
    assert (again.low, again.high, again.units) == (pytest.approx(found.low), pytest.approx(found.high), 3)
    assert student_difference(first, second, [0, 0, 0, 0]).low is None
    assert student_difference(torch.ones(4), torch.zeros(3)).high == 1.0


def test_the_change_of_continuous_values_is_the_paired_t_test():
    before, after = torch.tensor([0.3, 0.5, 0.9, 0.4]), torch.tensor([0.1, 0.45, 0.5, float("nan")])
    low, high = ttest_1samp((after - before)[:3].double().numpy(), 0).confidence_interval(0.95)
    found = student_change(after, before)
    assert (found.low, found.high, found.count) == (pytest.approx(low), pytest.approx(high), 3)
    with pytest.raises(ValueError, match="pairs"):
        student_change(after, before[:3])


@given(SHARES)
def test_ends_enclose_the_mean_and_stay_in_bounds(values):
    found = mean_interval(torch.tensor(values))
    assert 0 <= found.low <= found.mean <= found.high <= 1
    turned = mean_interval(1 - torch.tensor(values, dtype=torch.float64))
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((found.low, found.high), abs=1e-6)


@given(SHARES)
def test_a_higher_level_is_wider(values):
    rows = torch.tensor(values)
    narrow, wide = mean_interval(rows, level=0.8), mean_interval(rows, level=0.99)
    assert wide.low <= narrow.low
    assert narrow.high <= wide.high


@pytest.mark.parametrize("subjects", [2, 3, 5, 8])
@pytest.mark.parametrize(("a", "b"), [(1, 49), (2, 8), (2.5, 2.5), (49, 1)])
def test_the_interval_covers_what_it_says(subjects, a, b):
    stream = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        levels = stream.beta(a, b, subjects)
        values = torch.tensor(stream.random((subjects, 5)) < levels[:, None]).float().flatten()
        found = mean_interval(values, [group for group in range(subjects) for _ in range(5)])
        covered += found.low <= a / (a + b) <= found.high
    assert covered / 300 >= 0.93


def test_students_interval_is_scipys():
    values = torch.tensor([0.3, 2.0, -1.0, 5.0])
    low, high = ttest_1samp(values.double().numpy(), 0).confidence_interval(0.9)
    found = student_interval(values, level=0.9)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert t_interval(values.tolist(), 0.9) == found


def test_a_ratio_of_sums():
    sums, sizes = torch.tensor([2.0, 9.0, 4.0]), torch.tensor([1.0, 3.0, 2.0])
    found = ratio_interval(sums, sizes)
    assert found.mean == pytest.approx(15 / 6)
    # By the formula: 3 / 2 times the squared deviations from the ratio, over the squared total.
    deviations = (sums - sizes * 2.5) / 6
    half = 1.5 * deviations.square().sum().item()
    effective = 36 / (1 + 9 + 4)

    assert found.high - found.mean == pytest.approx(t.ppf(0.975, effective - 1) * math.sqrt(half), rel=1e-6)
    with pytest.raises(ValueError, match="size"):
        ratio_interval(sums, torch.zeros(3))


def test_a_difference_combines_the_two_intervals():
    first, second = torch.tensor([1.0] * 8 + [0.0] * 2), torch.tensor([1.0] * 3 + [0.0] * 9)
    one, two = mean_interval(first), mean_interval(second)
    found = difference_interval(first, second)
    assert found.mean == pytest.approx(0.55)
    assert found.low == pytest.approx(0.55 - math.hypot(0.8 - one.low, two.high - 0.25))
    assert found.high == pytest.approx(0.55 + math.hypot(one.high - 0.8, 0.25 - two.low))
    assert found.units == 10


def test_a_change_of_the_same_records_is_narrower_than_a_difference():
    stream = torch.Generator().manual_seed(0)
    before = (torch.rand(60, generator=stream) < 0.6).float()
    after = before.clone()
    after[:3] = 0
    groups = [index // 5 for index in range(60)]
    paired, apart = change_interval(after, before, groups), difference_interval(after, before, groups, groups)
    assert paired.mean == pytest.approx(apart.mean)
    assert paired.high - paired.low < apart.high - apart.low
    kept = change_interval(after, before, groups, share=0.5)
    assert kept.mean == pytest.approx((after.mean() - before.mean() / 2).item())


def test_nothing_changed_over_few_subjects_is_no_certainty():
    everything = torch.ones(10)
    found = change_interval(everything, everything, [index // 5 for index in range(10)])
    assert found.mean == 0
    assert found.low < -0.5
    with pytest.raises(ValueError, match="pairs"):
        change_interval(everything, everything[:3])


def test_missing_values_are_left_out_and_nothing_is_refused():
    nothing = float("nan")
    interval = mean_interval(torch.tensor([1.0, nothing, 0.0]))
    assert (interval.mean, interval.count) == (0.5, 2)
    pair = change_interval(torch.tensor([1.0, nothing, 0.0]), torch.tensor([1.0, 1.0, nothing]))
    assert (pair.mean, pair.count) == (0.0, 1)
    with pytest.raises(ValueError, match="no value"):
        mean_interval(torch.tensor([nothing]))
    with pytest.raises(ValueError, match="level"):
        mean_interval(torch.ones(2), level=1.0)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        mean_interval(torch.tensor([0.5, 1.5]))
    with pytest.raises(ValueError, match="one group per value"):
        mean_interval(torch.ones(2), ["a"])


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


def test_many_single_values_are_about_normal():
    values = (torch.rand(4000, generator=torch.Generator().manual_seed(0)) < 0.4).float()
    found = mean_interval(values)
    p = found.mean
    assert found.high - found.low == pytest.approx(2 * norm.ppf(0.975) * math.sqrt(p * (1 - p) / 4000), rel=0.01)
