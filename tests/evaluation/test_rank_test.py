"""Rank tests over groups, against enumeration and scipy."""

from itertools import combinations, product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from myosotis.evaluation.rank_test import group_means, paired_rank_test, rank_test

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


def test_what_is_refused():
    with pytest.raises(ValueError, match="no value"):
        rank_test(torch.tensor([float("nan")]), torch.ones(2))
    with pytest.raises(ValueError, match="pairs"):
        paired_rank_test(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="one group per value"):
        group_means(torch.ones(2), [1])


def test_groups_are_averaged_in_their_order():
    assert group_means(torch.tensor([1.0, 5.0, 3.0, float("nan")]), ["b", "a", "b", "a"]) == [2.0, 5.0]
