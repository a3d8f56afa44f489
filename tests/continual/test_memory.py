"""Herding by hand, budgets, and what every selection must hold to."""

import json
import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional

from myosotis.continual.memory import ExemplarMemory, herding
from myosotis.engine.errors import SettingsError

POINTS = torch.tensor([[1.0, 0], [0, 1], [0.8, 0.6], [3, 4], [-0.6, 0.8], [5, 12]])


def test_herding_is_the_literal_greedy_choice():
    draw = torch.Generator().manual_seed(0)
    points = functional.normalize(torch.randn(60, 7, generator=draw, dtype=torch.float64), dim=1)
    left, chosen = set(range(60)), []
    for size in range(1, 61):
        means = {index: (points[chosen].sum(0) + points[index]) / size for index in left}
        best = min(left, key=lambda index: (points.mean(0) - means[index]).square().sum().item())
        chosen.append(best)
        left.remove(best)
    assert herding(points, 60) == chosen
    assert herding(torch.ones(4, 3), 3) == [0, 1, 2]


def test_herding_by_hand():
    assert herding(POINTS, 6) == [5, 3, 1, 0, 4, 2]
    # The last two tie for the fifth place.
    assert herding(POINTS, 6, normalize=False)[:4] == [3, 1, 2, 5]
    assert herding(POINTS, 3) == [5, 3, 1]
    assert herding(POINTS, 9) == [5, 3, 1, 0, 4, 2]
    unit = functional.normalize(POINTS, dim=1)
    assert functional.normalize(unit[[5, 3, 1]].mean(0), dim=0).tolist() == pytest.approx(
        [0.340036, 0.940412], abs=1e-5
    )
    assert functional.normalize(unit.mean(0), dim=0).tolist() == pytest.approx([0.468191, 0.883627], abs=1e-5)


def test_quotas():
    memory = ExemplarMemory(total=2000)
    assert [memory.quota(count) for count in (10, 20, 30, 50, 70, 100)] == [200, 100, 66, 40, 28, 20]
    assert ExemplarMemory(per_class=20).quota(1000) == 20
    with pytest.raises(ValueError, match="a memory of 5 is smaller than one exemplar for each of 6 classes"):
        ExemplarMemory(total=5).quota(6)


def test_the_prefix_stays_when_the_quota_shrinks():
    features = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    memory = ExemplarMemory(total=12)
    memory.add({0: torch.arange(0, 10), 1: torch.arange(10, 20)}, lambda places: features[places])
    before = [memory.of_class(0), memory.of_class(1)]
    memory.add({2: torch.arange(20, 30), 3: torch.arange(30, 40)}, lambda places: features[places])
    assert [memory.of_class(label) for label in (0, 1)] == [ranked[:3] for ranked in before]
    assert memory.indices().tolist() == sorted(place for label in range(4) for place in memory.of_class(label))


@given(
    st.sampled_from(["herding", "random", "reservoir", "class_balanced"]),
    st.integers(6, 30),
    st.lists(st.integers(1, 25), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_the_budget_holds_and_only_offered_samples_are_kept(selection, total, sizes):
    memory = ExemplarMemory(total=total, selection=selection)
    features = torch.randn(sum(sizes), 2, generator=torch.Generator().manual_seed(1))
    begin = 0
    for label, size in enumerate(sizes):
        memory.add({label: torch.arange(begin, begin + size)}, lambda places: features[places])
        begin += size
        places = memory.indices().tolist()
        assert len(places) == len(memory) <= total
        assert len(set(places)) == len(places)
        assert all(place < begin for place in places)
        if memory.is_stream:
            assert len(memory) == min(total, begin)


def test_a_class_balanced_memory_is_balanced_where_a_reservoir_is_not():
    samples = {0: torch.arange(0, 900), 1: torch.arange(900, 1000)}
    counts = {}
    for selection in ("class_balanced", "reservoir"):
        memory = ExemplarMemory(total=40, selection=selection)
        memory.add(samples)
        counts[selection] = [len(memory.of_class(label)) for label in (0, 1)]
    assert counts["class_balanced"] == [20, 20]
    assert counts["reservoir"][0] > 30


def test_a_reservoir_keeps_every_sample_alike_often():
    kept = torch.zeros(50)
    for seed in range(400):
        memory = ExemplarMemory(total=10, selection="reservoir", seed=seed)
        memory.add({0: torch.arange(0, 25)})
        memory.add({1: torch.arange(25, 50)})
        kept[memory.indices()] += 1
    assert (kept / 400 - 0.2).abs().max() < 0.08
    assert kept[:25].sum() / kept.sum() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("selection", ["herding", "random", "reservoir", "class_balanced"])
def test_a_saved_memory_goes_on_as_if_it_had_not_been_saved(selection):
    features = torch.randn(60, 3)

    def filled(memory, labels):
        for label in labels:
            memory.add({label: torch.arange(label * 20, label * 20 + 20)}, lambda places: features[places])
        return memory

    make = {"total": 9, "selection": selection, "seed": 4}
    whole = filled(ExemplarMemory(**make), (0, 1, 2))
    again = ExemplarMemory(**make)
    again.load_state_dict(json.loads(json.dumps(filled(ExemplarMemory(**make), (0, 1)).state_dict())))
    assert filled(again, (2,)).state_dict() == whole.state_dict()


def test_wrong_memories():
    for wrong in ({}, {"total": 3, "per_class": 3}):
        with pytest.raises(ValueError, match="either 'total' or 'per_class'"):
            ExemplarMemory(**wrong)
    with pytest.raises(ValueError, match="negative"):
        ExemplarMemory(total=-1)
    with pytest.raises(ValueError, match="'reservoir' needs 'total'"):
        ExemplarMemory(per_class=3, selection="reservoir")
    with pytest.raises(ValueError, match="herding needs features"):
        ExemplarMemory(total=3).add({0: torch.arange(3)})
    empty = ExemplarMemory(total=0)
    empty.add({0: torch.arange(3)})
    assert len(empty) == 0


def test_features_that_are_not_finite_are_refused():
    """One NaN made herding choose the first sample every time."""
    for number in (math.nan, math.inf):
        points = torch.rand(6, 3)
        points[2, 1] = number
        with pytest.raises(SettingsError, match="hold infinity or NaN"):
            herding(points, 5)
    assert herding(torch.zeros(0, 3), 5) == []
    assert herding(torch.rand(3, 2), 0) == []
