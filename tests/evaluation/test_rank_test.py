"""Rank tests over groups, against enumeration and scipy."""

from itertools import combinations, product

import pytest
import torch
from hypothesis import given, strategies as st
from scipy.stats import mannwhitneyu, norm, rankdata

from myosotis.evaluation.rank_test import group_means, paired_rank_test, rank_test, stratified_rank_test

FEW = st.lists(st.integers(0, 4).map(float), min_size=1, max_size=5)


@given(FEW, FEW)
def test_the_null_distribution_is_exact_ties_included(first, second):
    ranks = rankdata(first + second)
    own = sum(ranks[: len(first)])
    sums = [sum(ranks[index] for index in chosen) for chosen in combinations(range(len(ranks)), len(first))]
    greater = sum(value >= own - 1e-9 for value in sums) / len(sums)
    found = rank_test(torch.tensor(first), torch.tensor(second), alternative="greater")
    assert found.p_value == pytest.approx(greater)
    assert found.smallest == pytest.approx(1 / len(sums))


def test_two_against_two_can_never_be_significant():
    found = rank_test(torch.tensor([0.0, 0.1]), torch.tensor([8.0, 9.0]))
    assert found.p_value == pytest.approx(1 / 3)
    assert not found.could_show(0.95)
    assert not found.shows(0.95)
    assert rank_test(torch.zeros(4), torch.ones(4)).could_show(0.95)


def test_records_of_one_subject_are_one_unit():
    values, others = torch.arange(20.0), torch.arange(20.0) + 100
    groups = [index // 10 for index in range(20)]
    assert rank_test(values, others).shows(0.95)
    grouped = rank_test(values, others, groups, groups)
    assert grouped.units == (2, 2)
    assert not grouped.shows(0.95)


def test_many_units_are_approximated():
    stream = torch.Generator().manual_seed(0)
    values, others = torch.randn(80, generator=stream), torch.randn(60, generator=stream) + 0.3
    expected = mannwhitneyu(values, others, method="asymptotic").pvalue
    assert rank_test(values, others).p_value == pytest.approx(expected)
    assert rank_test(torch.ones(50), torch.ones(50)).p_value == 1.0


@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=7))
def test_signed_ranks_are_exact(differences):
    found = paired_rank_test(torch.tensor(differences), torch.zeros(len(differences)), alternative="greater")
    there = [value for value in differences if value]
    if not there:
        assert found.p_value == 1.0
        return
    ranks = rankdata([abs(value) for value in there])
    own = sum(rank for rank, value in zip(ranks, there, strict=True) if value > 0)
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product((0, 1), repeat=len(ranks))
    ]
    assert found.p_value == pytest.approx(sum(value >= own - 1e-9 for value in sums) / len(sums))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans(), st.integers(0, 3)), min_size=2, max_size=9))
def test_strata_are_ranked_apart_and_the_null_distribution_is_exact(rows):
    """Against an enumeration of every way to choose the first set within the strata, with van Elteren's weights."""
    first = [row for row in rows if row[1]]
    second = [row for row in rows if not row[1]]
    shared = {name for name, _, _ in first} & {name for name, _, _ in second}
    sides = [
        (torch.tensor([float(value) for *_, value in side]), [name for name, *_ in side]) for side in (first, second)
    ]
    arguments = (sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    if not shared:
        with pytest.raises(ValueError, match="no stratum"):
            stratified_rank_test(*arguments)
        return
    statistics, own = [0.0], 0.0
    for name in shared:
        mine = [value for each, _, value in first if each == name]
        others = [value for each, _, value in second if each == name]
        ranks = rankdata(mine + others) / (len(mine) + len(others) + 1)
        own += sum(ranks[: len(mine)])
        statistics = [one + sum(chosen) for one in statistics for chosen in combinations(ranks, len(mine))]
    expected = sum(value >= own - 1e-9 for value in statistics) / len(statistics)
    assert stratified_rank_test(*arguments, alternative="greater").p_value == pytest.approx(expected)


def test_a_single_stratum_is_the_plain_test():
    stream = torch.Generator().manual_seed(0)
    for count in (4, 60):
        values, others = torch.randn(count, generator=stream), torch.randn(count + 5, generator=stream)
        plain = rank_test(values, others)
        assert stratified_rank_test(values, others, "a" * count, "a" * (count + 5)) == plain
        more = torch.cat([others, torch.full((30,), 99.0)])
        assert stratified_rank_test(values, more, "a" * count, "a" * (count + 5) + "b" * 30) == plain


def test_many_units_in_strata_are_approximated_by_the_variance_of_a_draw_without_replacement():
    # Two strata of 40 and 60 without ties: means m / 2, variances m n / (12 (N + 1)).
    first, second = (
        torch.tensor([*range(20), *range(100, 130)]).double(),
        torch.tensor([*range(20, 40), *range(130, 160)]),
    )
    strata = "a" * 20 + "b" * 30
    found = stratified_rank_test(first, second.double(), strata, strata, alternative="less")
    ranks = sum(range(1, 21)) / 41 + sum(range(1, 31)) / 61
    variance = 20 * 20 / (12 * 41) + 30 * 30 / (12 * 61)
    assert found.p_value == pytest.approx(norm.cdf((ranks - 25) / variance**0.5))
    assert stratified_rank_test(torch.ones(50), torch.ones(50), strata, strata).p_value == 1.0


def test_an_easy_stratum_shows_nothing_by_itself():
    """Values that are all of the easier of two strata: the plain test is fooled, the stratified one is not."""
    shown = {"plain": 0, "stratified": 0}
    stream = torch.Generator().manual_seed(0)
    for _ in range(200):
        values, easy = torch.rand(16, generator=stream), torch.rand(50, generator=stream)
        hard = torch.rand(150, generator=stream) + 0.5
        others, names = torch.cat([easy, hard]), ["easy"] * 50 + ["hard"] * 150
        shown["plain"] += rank_test(values, others, alternative="less").shows(0.95)
        test = stratified_rank_test(values, others, ["easy"] * 16, names, alternative="less")
        shown["stratified"] += test.shows(0.95)
    assert shown["plain"] > 190
    assert shown["stratified"] <= 16  # nominal 10, standard deviation 3


def test_what_is_refused():
    with pytest.raises(ValueError, match="no value"):
        rank_test(torch.tensor([float("nan")]), torch.ones(2))
    with pytest.raises(ValueError, match="pairs"):
        paired_rank_test(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="one group per value"):
        group_means(torch.ones(2), [1])
    with pytest.raises(ValueError, match="one stratum per value"):
        stratified_rank_test(torch.ones(2), torch.ones(2), "a", "aa")


def test_groups_are_averaged_in_their_order():
    assert group_means(torch.tensor([1.0, 5.0, 3.0, float("nan")]), ["b", "a", "b", "a"]) == [2.0, 5.0]
