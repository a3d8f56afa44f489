"""Membership inference: AUC, rates and intervals against scikit-learn and by hand."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from myosotis.evaluation.membership import membership_inference, roc_auc, tpr_at_fpr

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auc_agrees_with_scikit_learn_and_turns_round_with_the_sign(members, others):
    a, b = torch.tensor(members), torch.tensor(others)
    truth = [0] * len(members) + [1] * len(others)
    assert roc_auc(a, b) == pytest.approx(roc_auc_score(truth, members + others))
    assert roc_auc(-a, -b) == pytest.approx(1 - roc_auc(a, b))


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.25, 0.5]))
def test_rates_agree_with_scikit_learn(members, others, rate):
    truth = [1] * len(members) + [0] * len(others)
    # Their curve flags what is at least a threshold; low scores are flagged here.
    false, true, _ = roc_curve(truth, [-score for score in members + others], drop_intermediate=False)
    expected = max(t for f, t in zip(false, true, strict=True) if f <= rate + 1e-9)
    assert tpr_at_fpr(torch.tensor(members), torch.tensor(others), rate) == pytest.approx(expected)


def test_members_that_stand_out_by_being_unlikely_are_over_unlearned():
    stream = torch.Generator().manual_seed(0)
    low, high = torch.rand(40, generator=stream), torch.rand(40, generator=stream) + 0.8
    known, over, level = (
        membership_inference(low, high),
        membership_inference(high, low),
        membership_inference(low, low),
    )
    assert known.traceable
    assert not known.over_unlearned
    assert over.over_unlearned
    assert not over.traceable
    assert not level.traceable
    assert not level.over_unlearned
    assert known.low <= known.auc <= known.high
    assert over.auc == pytest.approx(1 - known.auc)


def test_the_bootstrap_is_that_of_resampled_groups():
    stream = torch.Generator().manual_seed(1)
    members, others = torch.rand(12, generator=stream), torch.rand(9, generator=stream) + 0.2
    member_groups, other_groups = [place // 3 for place in range(12)], [place // 3 for place in range(9)]
    found = membership_inference(
        members, others, member_groups=member_groups, other_groups=other_groups, seed=5, resamples=20_000
    )
    # Every resample there is: 4 groups of members and 3 of non-members, with repetition.
    values = [
        roc_auc(
            torch.cat([members[3 * g : 3 * g + 3] for g in left]), torch.cat([others[3 * g : 3 * g + 3] for g in right])
        )
        for left in product(range(4), repeat=4)
        for right in product(range(3), repeat=3)
    ]
    low, high = torch.tensor(values).quantile(torch.tensor([0.025, 0.975])).tolist()
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_repeating_every_member_within_its_group_tells_nothing_new():
    stream = torch.Generator().manual_seed(1)
    members, others = torch.rand(12, generator=stream), torch.rand(9, generator=stream) + 0.2
    once = membership_inference(members, others)
    groups = [place // 3 for place in range(36)]
    thrice = membership_inference(members.repeat_interleave(3), others, member_groups=groups)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    naive = membership_inference(members.repeat_interleave(3), others)
    assert naive.high - naive.low < thrice.high - thrice.low


def test_a_single_group_has_no_interval():
    found = membership_inference(torch.rand(3), torch.rand(4), member_groups=["one"] * 3)
    assert found.low is None
    assert not found.over_unlearned
    assert not found.traceable


@pytest.mark.parametrize(
    ("members", "others", "options", "message"),
    [
        ([], [1.0], {}, "both sides"),
        ([float("nan")], [1.0], {}, "not a number"),
        ([1.0], [1.0], {"level": 1.0}, "level"),
        ([1.0], [1.0], {"member_groups": [1, 2]}, "one group per score"),
    ],
)
def test_bad_input_is_refused(members, others, options, message):
    with pytest.raises(ValueError, match=message):
        membership_inference(torch.tensor(members), torch.tensor(others), **options)


def test_rate_out_of_range():
    with pytest.raises(ValueError, match="false-positive rate"):
        tpr_at_fpr(torch.ones(1), torch.ones(1), 1.0)
