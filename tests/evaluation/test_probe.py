"""Probes of frozen features, against scikit-learn and by hand."""

import math

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from myosotis.engine.errors import SettingsError
from myosotis.evaluation import probe
from myosotis.evaluation.probe import balanced_indices, knn_probe, linear_probe


@pytest.fixture(scope="module")
def digits():
    raw = load_digits()
    features, labels = torch.from_numpy(raw.data).float(), torch.from_numpy(raw.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return features[order[:1000]], labels[order[:1000]], features[order[1000:]], labels[order[1000:]]


@pytest.mark.parametrize("penalty", [0.1, 0.01])
def test_the_same_classifier_as_scikit_learn(digits, penalty):
    train, labels, test, wanted = digits
    found = linear_probe(train, labels, test, wanted, penalties=(penalty,))
    scaler = StandardScaler().fit(train.double().numpy())
    # Theirs sums the loss over samples and has C before it.
    theirs = LogisticRegression(C=1 / (penalty * len(train)), max_iter=2000, tol=1e-8)
    theirs.fit(scaler.transform(train.double().numpy()), labels.numpy())
    logits = torch.from_numpy(theirs.decision_function(scaler.transform(test.double().numpy())))
    ours = found.scores(test)
    torch.testing.assert_close(
        ours - ours.mean(1, keepdim=True), logits - logits.mean(1, keepdim=True), atol=2e-3, rtol=2e-3
    )
    assert found.accuracy == pytest.approx(theirs.score(scaler.transform(test.double().numpy()), wanted.numpy()))


def test_the_penalty_is_chosen_without_the_test_set(digits):
    train, labels, test, wanted = digits
    found = linear_probe(train, labels, test, wanted)
    assert found.accuracy > 0.94
    shuffled = linear_probe(train, labels, test, wanted.roll(1))
    assert shuffled.penalty == found.penalty
    assert shuffled.weight.equal(found.weight)
    assert shuffled.accuracy < 0.3
    # Noise asks for a strong penalty.
    noise = torch.randn(200, 50, generator=torch.Generator().manual_seed(1))
    assert linear_probe(noise, labels[:200], noise, labels[:200]).penalty >= 0.1


def test_balanced_probes(digits):
    train, labels, test, wanted = digits
    found = linear_probe(train, labels, test, wanted, mode="balanced", per_class=10)
    assert found.count == 100
    assert 0.7 < found.accuracy < linear_probe(train, labels, test, wanted).accuracy
    indices = balanced_indices(labels, 10, seed=3)
    assert labels[indices].bincount().tolist() == [10] * 10
    assert indices.equal(balanced_indices(labels, 10, seed=3))
    assert not indices.equal(balanced_indices(labels, 10, seed=4))
    with pytest.raises(ValueError, match="class 0 has .* samples, expected 500"):
        balanced_indices(labels, 500, seed=0)


def test_scale_shift_and_names_of_classes_do_not_matter(digits):
    train, labels, test, wanted = digits
    plain = linear_probe(train, labels, test, wanted, penalties=(0.01,))
    moved = linear_probe(train * 100 + 7, labels, test * 100 + 7, wanted, penalties=(0.01,))
    assert moved.accuracy == plain.accuracy
    renamed = linear_probe(train, 90 - 3 * labels, test, 90 - 3 * wanted, penalties=(0.01,))
    assert renamed.accuracy == plain.accuracy
    assert renamed.classes.tolist() == [90 - 3 * label for label in range(9, -1, -1)]


def test_neighbours(digits):
    train, labels, test, wanted = digits
    assert knn_probe(train, labels, train, labels, k=1) == 1.0
    assert knn_probe(train, labels, test, wanted) > 0.95
    assert knn_probe(train, labels, 5 * test, wanted) == knn_probe(train, labels, test, wanted)
    # Two weak votes against one strong: cosines 1 of class 0, twice cos of class 1.
    voters = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [math.cos(0.3), math.sin(0.3)], [math.cos(0.3), -math.sin(0.3)]])
    of = torch.tensor([0, 0, 1, 1])
    query = torch.tensor([[1.0, 0.0]])
    # Never more than the smallest class has: two vote, and the nearest is of class 0.
    assert knn_probe(voters, of, query, torch.tensor([0]), k=20) == 1.0


def test_wrong_input(digits):
    train, labels, test, wanted = digits
    with pytest.raises(ValueError, match="at least two classes"):
        linear_probe(train[labels == 1], labels[labels == 1], test, wanted)
    with pytest.raises(ValueError, match="no test features"):
        linear_probe(train, labels, test[:0], wanted[:0])
    single = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="give one penalty"):
        linear_probe(train[:2], single, test, wanted)
    with pytest.raises(ValueError, match="must be positive"):
        knn_probe(train, labels, test, wanted, k=0)
    with pytest.raises(ValueError, match="expected training and test features"):
        knn_probe(train[:0], labels[:0], test, wanted)


def test_neighbours_are_looked_for_in_parts_of_bounded_memory(monkeypatch):
    """2,048 tests by all voters at once were 10 GB of cosines at the size of ImageNet."""
    stream = torch.Generator().manual_seed(0)
    train, test = torch.randn(3000, 8, generator=stream), torch.randn(500, 8, generator=stream)
    labels, answers = torch.arange(3000) % 3, torch.arange(500) % 3
    whole = knn_probe(train, labels, test, answers, memory=2**40)
    parts = []
    normalize = probe.functional.normalize
    monkeypatch.setattr(
        probe.functional, "normalize", lambda rows, dim: parts.append(len(rows)) or normalize(rows, dim=dim)
    )
    for memory in (1, 3000, 20_000, 2**17):
        parts.clear()
        assert knn_probe(train, labels, test, answers, memory=memory) == whole
        assert len(parts) > 2
        # Test features come first, then all voters for them; at least as many voters as votes.
        assert 4 * parts[0] * max(parts[1:]) <= max(memory, 4 * 20)


def literal_neighbours(train, labels, test, answers, k, temperature=0.07):
    """Of equal cosines the smaller index, of equal votes the smaller class."""
    units = [torch.nn.functional.normalize(side.double(), dim=1) for side in (train, test)]
    cosines = (units[1] @ units[0].T * 2**24).round() / 2**24
    classes, right = labels.unique(), 0
    k = min(k, int(labels.unique(return_counts=True)[1].min()))
    for row, answer in zip(cosines, answers, strict=True):
        nearest = sorted(range(len(row)), key=lambda index: (-row[index].item(), index))[:k]
        votes = {int(label): 0.0 for label in classes}
        for index in nearest:
            votes[int(labels[index])] += math.exp((row[index] - row[nearest[0]]).item() / temperature)
        right += max(votes, key=lambda label: (round(votes[label], 9), -label)) == int(answer)
    return right / len(answers)


@pytest.mark.parametrize("case", ["copies", "one feature", "collapsed", "one direction", "rounded"])
def test_ties_do_not_depend_on_memory(case):
    """Accuracies were .27 to .61 by the memory that was used: equal neighbours were taken in any order."""
    stream = torch.Generator().manual_seed(3)
    train = {
        "copies": torch.randn(8, 4, generator=stream).repeat(40, 1),
        "one feature": torch.randn(320, 1, generator=stream),
        "collapsed": torch.ones(320, 16) + 1e-9 * torch.randn(320, 16, generator=stream),
        "one direction": torch.randn(160, 8, generator=stream).repeat_interleave(2, 0)
        * (1 + torch.rand(320, 1, generator=stream)),
        "rounded": torch.randn(320, 2, generator=stream).round(),
    }[case]
    labels = torch.randint(0, 3, (320,), generator=stream) * 5 - 3
    test, answers = train[100:160], labels[:60]
    expected = {k: literal_neighbours(train, labels, test, answers, k) for k in (1, 5, 20)}
    for k, accuracy in expected.items():
        found = {knn_probe(train, labels, test, answers, k=k, memory=memory) for memory in (1, 500, 10_000, 2**26)}
        assert found == {accuracy}


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("side", ["training", "test"])
def test_neighbours_of_features_that_are_not_finite_are_refused(digits, side, number):
    train, labels, test, wanted = (one.clone() for one in digits)
    (train if side == "training" else test)[7, 3] = number
    with pytest.raises(SettingsError, match=f"{side} features hold infinity or NaN"):
        knn_probe(train, labels, test, wanted)
