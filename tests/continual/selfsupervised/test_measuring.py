"""Tests of :mod:`myosotis.continual.selfsupervised.measuring`."""

import pytest

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.selfsupervised.measuring import Measured, Measuring, ProbeSettings, Transfer, stream_figures
from myosotis.continual.selfsupervised.training import learn_representations

PROBES = ProbeSettings(shares=(0.5,), drift_samples=24)


@pytest.mark.parametrize("kind", ["class", "data", "domain"])
def test_what_is_measured(kind, images, learner, stream, train_settings):
    other = Transfer("corners", images(40, 3), images(40, 4))
    outcome = learn_representations(
        learner(),
        stream(kind),
        ExemplarMemory(total=0),
        train_settings(),
        PROBES.model_copy(update={"mode": "balanced", "per_class": 6}),
        transfer=(other,),
        shown=0,
    )
    tasks = 3 if kind == "data" else 2
    for measured in (outcome.before, *(record.measured for record in outcome.records)):
        assert len(measured.linear) == len(measured.knn) == tasks
        assert set(measured.transfer) == {"corners"}
        # Equal test sets: the mean over tasks is the accuracy on everything.
        assert measured.linear_all == pytest.approx(sum(measured.linear) / tasks)
        if kind == "data":
            assert len(set(measured.linear)) == 1
    assert outcome.before.drift is None
    assert all(record.measured.drift > 0 for record in outcome.records)
    assert set(outcome.few_labels) == {"0.5"}
    assert outcome.maps == {}


def test_figures_of_a_stream_by_hand():
    def at(linear, overall):
        return Measured(linear=linear, knn=linear, linear_all=overall, knn_all=overall, transfer={}, drift=None)

    before = at([0.3, 0.4, 0.5], 0.4)
    history = [at([0.8, 0.5, 0.6], 0.6), at([0.6, 0.9, 0.7], 0.7), at([0.7, 0.8, 0.9], 0.8)]
    found = stream_figures(before, history)
    assert found.final == 0.8
    assert found.learning == pytest.approx((0.8 + 0.9 + 0.9) / 3)
    assert found.forgetting == pytest.approx((0.1 + 0.1) / 2)
    assert found.stability == pytest.approx((-0.1 - 0.1) / 2)
    assert found.forward_transfer == pytest.approx((0.1 + 0.2) / 2)
    assert found.gain == pytest.approx(0.4)
    single = stream_figures(before, history[-1:])
    assert single.forgetting is None
    assert single.learning is None
    assert single.final == 0.8


def test_shares_are_of_all_labels(images, learner, stream):
    probes = PROBES.model_copy(update={"mode": "balanced", "per_class": 4})
    scenario, one = stream(), learner()
    measuring = Measuring(scenario, probes, "cpu")
    seen = []
    plain = one.features
    one.features = lambda images: (seen.append(len(images)), plain(images))[1]
    measuring.few_labels(one)
    assert sorted(seen) == [48, 48]  # test images; half of 96 training images
