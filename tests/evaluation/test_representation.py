"""The report on a stream of encoders, on features whose quality is known."""

import pytest
import torch

from myosotis.evaluation.probe import linear_probe
from myosotis.evaluation.representation import Encoding, representation_report

TASKS = [[0, 1], [2, 3]]


def labels(per_class):
    return torch.arange(4).repeat_interleave(per_class)


def features(count, known, seed):
    """One direction for each class in ``known``; the others all look alike."""
    noise = 0.05 * torch.randn(len(labels(count)), 6, generator=torch.Generator().manual_seed(seed))
    for label in known:
        noise[labels(count) == label, label] += 1
    return noise


def encoding(known, count=30, seed=0):
    return Encoding(features(count, known, seed), features(20, known, seed + 100))


def report(history, **options):
    return representation_report(history, labels(30), labels(20), TASKS, **{"penalties": (0.01,), **options})


def test_an_encoder_that_learns_the_second_task():
    found = report([encoding([0, 1]), encoding([0, 1, 2, 3], seed=1)], accuracies=[0.9, 0.6])
    assert found.probe_seen == [1.0, 1.0]
    assert found.probe_all[1] == found.probe_seen[1]
    assert 0.6 < found.probe_all[0] < 0.9  # classes 2 and 3 are told from the others, not from each other
    assert found.gain == pytest.approx(1 - found.probe_all[0])
    assert found.gain > 0.1
    assert found.head_gap == pytest.approx([0.1, 0.4])
    assert found.plasticity[0] == pytest.approx(1 - found.probe_task[0][1])
    assert found.plasticity[0] > 0.2
    assert found.knn_seen[1] == 1.0
    assert found.stability > 0.5


def test_an_encoder_that_stays_gains_nothing():
    same = encoding([0, 1])
    found = report([same, same])
    assert found.gain == 0
    assert found.plasticity == [0]
    assert found.stability == pytest.approx(1)
    assert found.head_gap is None


def test_an_encoder_that_forgets():
    found = report([encoding([0, 1]), encoding([2, 3], seed=2)])
    assert found.probe_task[1][1] == 1.0
    assert found.probe_task[1][0] < 0.8
    assert found.stability < 0.5


def test_balanced_probes_take_as_many_of_each_class():
    one = encoding([0, 1, 2, 3])
    found = report([one, one], mode="balanced", per_class=5)
    assert (found.mode, found.per_class) == ("balanced", 5)
    expected = linear_probe(
        one.train, labels(30), one.test, labels(20), mode="balanced", per_class=5, penalties=(0.01,), seed=0
    )
    assert found.probe_all == [expected.accuracy] * 2


def test_rotated_features_are_as_good():
    plain = [encoding([0, 1]), encoding([0, 1, 2, 3], seed=1)]
    turn = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3))).Q
    turned = [Encoding(one.train @ turn * 3, one.test @ turn * 3) for one in plain]
    assert report(turned).stability == pytest.approx(report(plain).stability, abs=1e-6)
    assert report(turned).knn_seen == report(plain).knn_seen


def test_a_single_task_and_wrong_lengths():
    alone = representation_report([encoding([0, 1, 2, 3])], labels(30), labels(20), [[0, 1, 2, 3]], penalties=(0.01,))
    assert alone.stability is None
    assert alone.plasticity == []
    assert alone.gain == 0
    with pytest.raises(ValueError, match="for each of 2 tasks"):
        report([encoding([0])])
    with pytest.raises(ValueError, match="for each of 2 tasks"):
        report([encoding([0]), encoding([0])], accuracies=[1.0])
    with pytest.raises(ValueError, match="no tasks given"):
        representation_report([], labels(30), labels(20), [])
