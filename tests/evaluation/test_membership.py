"""Membership inference: AUC, rates and intervals against scikit-learn and by hand."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from scipy.stats import t
from sklearn.metrics import roc_auc_score, roc_curve

from myosotis.evaluation.membership import (
    membership_inference,
    roc_auc,
    stratified_membership,
    tpr_at_fpr,
)

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


def test_the_interval_is_delongs():
    # Worked by hand: 5 against 5, three pairs of the wrong order, so the placements are 3/5, 4/5 and 1 on both sides.
    members, others = torch.tensor([1.0, 2.0, 3.0, 6.0, 8.0]), torch.tensor([5.0, 7.0, 9.0, 10.0, 11.0])
    found = membership_inference(members, others)
    assert found.auc == pytest.approx(22 / 25)
    side = 5 / 4 * (3 * (1 - 0.88) ** 2 + (0.8 - 0.88) ** 2 + (0.6 - 0.88) ** 2) / 25
    error = math.sqrt(2 * side) / (0.88 * 0.12)
    logit = math.log(0.88 / 0.12)
    low, high = (1 / (1 + math.exp(-(logit + sign * t.ppf(0.975, 4) * error))) for sign in (-1, 1))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.p_value < 0.06


def test_a_group_of_many_scores_weighs_as_one():
    # One person of 40 records is known, four of one record each are not.
    members, groups = torch.tensor([0.0] * 40 + [9.0] * 4), [0] * 40 + [1, 2, 3, 4]
    found = membership_inference(members, torch.arange(1.0, 6.0), member_groups=groups)
    assert found.auc == pytest.approx(1 / 5)
    # Next to 1 the variance between groups says too little: one pair of 25 is not certainty.
    close = membership_inference(torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0]), torch.tensor([5.0, 7.0, 8.0, 9.0, 10.0]))
    assert 0.5 < close.low < 0.65


def test_full_separation_of_few_is_no_certainty():
    found = membership_inference(torch.zeros(6), torch.ones(6))
    assert found.auc == found.high == 1.0
    assert 0.6 < found.low < 0.8
    assert found.traceable
    turned = membership_inference(torch.ones(6), torch.zeros(6))
    assert (turned.low, turned.high) == pytest.approx((0.0, 1 - found.low))


def test_repeating_every_member_within_its_group_tells_nothing_new():
    stream = torch.Generator().manual_seed(1)
    members, others = torch.rand(12, generator=stream), torch.rand(9, generator=stream) + 0.2
    once = membership_inference(members, others)
    groups = [place // 3 for place in range(36)]
    thrice = membership_inference(members.repeat_interleave(3), others, member_groups=groups)
    assert (thrice.low, thrice.high, thrice.p_value) == pytest.approx((once.low, once.high, once.p_value))
    naive = membership_inference(members.repeat_interleave(3), others)
    assert naive.high - naive.low < thrice.high - thrice.low


def test_few_units_flag_nothing_that_they_cannot_show():
    two = membership_inference(torch.tensor([1.0, 2.0]), torch.tensor([8.0, 9.0]))
    assert two.auc == 1.0
    assert not two.decidable
    assert not two.traceable
    assert (two.low, two.high) == (None, None)
    four = membership_inference(torch.arange(4.0) + 10, torch.arange(4.0))
    assert four.decidable
    assert four.over_unlearned
    one = membership_inference(torch.rand(3), torch.rand(4), member_groups=["one"] * 3)
    assert one.low is None
    assert not one.decidable


def test_the_flags_are_raised_as_seldom_as_they_should():
    stream = torch.Generator().manual_seed(0)
    for count in (2, 3, 5, 10):
        flags = 0
        for _ in range(400):
            found = membership_inference(torch.rand(count, generator=stream), torch.rand(count, generator=stream))
            flags += found.traceable or found.over_unlearned
        assert flags / 400 <= 0.07


@pytest.mark.parametrize(
    ("members", "others", "options", "message"),
    [
        ([], [1.0], {}, "both sides"),
        ([float("nan")], [1.0], {}, "a score is NaN"),
        ([1.0], [1.0], {"level": 1.0}, "level"),
        ([1.0], [1.0], {"member_groups": [1, 2]}, "one group per value"),
    ],
)
def test_bad_input_is_refused(members, others, options, message):
    with pytest.raises(ValueError, match=message):
        membership_inference(torch.tensor(members), torch.tensor(others), **options)


def test_rate_out_of_range():
    with pytest.raises(ValueError, match="false-positive rate"):
        tpr_at_fpr(torch.ones(1), torch.ones(1), 1.0)


def test_a_single_stratum_is_the_plain_attack():
    stream = torch.Generator().manual_seed(0)
    members, others = torch.rand(12, generator=stream), torch.rand(30, generator=stream) + 0.2
    plain = membership_inference(members.double(), others.double())
    assert stratified_membership(members, others, "a" * 12, "a" * 30) == plain
    assert stratified_membership(members, others, "a" * 12, "b" * 30) is None


def test_members_of_an_easy_class_are_no_trace_of_membership():
    stream = torch.Generator().manual_seed(0)
    members = torch.rand(40, generator=stream)
    others = torch.cat([torch.rand(60, generator=stream), torch.rand(60, generator=stream) + 2])
    strata, other_strata = ["easy"] * 39 + ["hard"], ["easy"] * 60 + ["hard"] * 60
    assert membership_inference(members, others).traceable
    found = stratified_membership(members[:39], others, strata[:39], other_strata)
    assert not found.traceable
    assert found.others == 60
    assert found.low < 0.5 < found.high


def test_the_auc_of_strata_is_the_mean_over_members_and_rates_count_weights():
    members, others = torch.tensor([1.0, 3.0, 1.0]), torch.tensor([2.0, 4.0, 0.0, 5.0, 6.0, 7.0])
    found = stratified_membership(members, others, "aab", "aabbbb")
    assert found.auc == pytest.approx((1 + 1 / 2 + 3 / 4) / 3)
    # The one below 1 weighs 1 / (3 * 4), so at a tenth false alarms all below 2 are flagged.
    assert found.tpr_at_fpr["0.1"] == pytest.approx(2 / 3)
    assert found.tpr_at_fpr["0.01"] == 0


def test_the_interval_of_strata_covers():
    stream = torch.Generator().manual_seed(0)
    truth = 0.5 * (1 + math.erf(0.5 / math.sqrt(2) / math.sqrt(2)))
    hits = 0
    for _ in range(300):
        classes, other = torch.randint(0, 3, (30,), generator=stream), torch.randint(0, 3, (90,), generator=stream)
        members = 3.0 * classes + torch.randn(30, generator=stream)
        others = 3.0 * other + 0.5 + torch.randn(90, generator=stream)
        found = stratified_membership(members, others, classes.tolist(), other.tolist())
        hits += found.low <= truth <= found.high
    assert hits / 300 > 0.92
