"""Tests of :mod:`myosotis.continual.segmentation.memory`."""

import warnings

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.continual.segmentation.batches import DenseAugmentation, SegmentationBatches
from myosotis.continual.segmentation.memory import Candidate, SegmentationMemory
from myosotis.continual.segmentation.scenario import remap_table


def no_mask(place):
    return torch.zeros(1, 1, dtype=torch.uint8)


def filled(sets, total, classes, seed=0):
    """A memory that has chosen among images which show these channels."""
    memory = SegmentationMemory(total, seed)
    found = [Candidate(place, frozenset(shown), tuple(classes), 0) for place, shown in enumerate(sets)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        memory.update(found, classes, no_mask)
    return memory


@given(st.lists(st.frozensets(st.integers(1, 4), min_size=1), max_size=30), st.integers(0, 12), st.integers(0, 9))
def test_a_memory_is_full_and_holds_nothing_twice(sets, total, seed):
    memory = filled(sets, total, range(1, 5), seed)
    places = [one.index for one in memory.exemplars]
    assert len(places) == len(set(places)) == min(total, len(sets))


@given(st.integers(1, 30), st.integers(0, 9))
def test_classes_are_balanced_where_they_can_be(total, seed):
    sets = [frozenset({label}) for label in range(1, 5) for _ in range(10 * label)]
    chosen = [next(iter(sets[one.index])) for one in filled(sets, total, range(1, 5), seed).exemplars]
    counts = [chosen.count(label) for label in range(1, 5)]
    assert max(counts) - min(counts) <= 1


def test_fewer_candidates_are_told():
    memory = SegmentationMemory(5)
    with pytest.warns(UserWarning, match="the memory has room for 5 images, but only 2 candidates exist"):
        memory.update([Candidate(place, frozenset({1}), (1,), 0) for place in range(2)], [1], no_mask)
    assert len(memory) == 2
    with pytest.raises(ValueError, match="negative"):
        SegmentationMemory(-1)
    empty = SegmentationMemory(0)
    empty.update([Candidate(0, frozenset({1}), (1,), 0)], [1], no_mask)
    assert not len(empty)


def test_an_image_that_comes_back_is_remembered_once():
    memory = SegmentationMemory(9)
    tasks = (range(6), range(3, 9))
    for task, places in enumerate(tasks):
        label = task + 1
        some = [Candidate(place, frozenset({label}), (label,), task) for place in places]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            memory.update(some, range(1, label + 1), lambda _, label=label: torch.full((1, 1), label).byte())
    assert sorted(one.index for one in memory.exemplars) == list(range(9))


def test_a_stored_mask_shows_what_its_task_labelled(two_tasks):
    _, memory = two_tasks()
    assert {one.task for one in memory.exemplars} == {0, 1}
    for one in memory.exemplars:
        assert one.shown <= set(one.labelled)
    assert memory.audit({0: [1, 2], 1: [3, 4]}).leaks == 0
    assert memory.audit({0: [1], 1: [3, 4]}).leaks > 0
    assert sum(memory.audit({0: [1, 2], 1: [3, 4]}).of_class.values()) >= 12


def test_nothing_leaks_from_the_source_masks(two_tasks):
    images, memory = two_tasks()

    def batches():
        made = SegmentationBatches(
            images,
            torch.arange(10),
            remap_table({label: label for label in range(1, 5)}, {3, 4}),
            [3, 4],
            5,
            memory.exemplars,
            8,
            DenseAugmentation(flip=True),
            0,
            torch.device("cpu"),
        )
        return list(made(0, 6))

    before = batches()
    for mask in images.masks:
        mask.fill_(4)
    after = batches()
    assert not torch.equal(before[0].target[:4], after[0].target[:4])
    for one, other in zip(before, after, strict=True):
        assert one.n_remembered == one.n_current == 4
        assert torch.equal(one.target[4:], other.target[4:])
        assert torch.equal(one.labelled, other.labelled)
        for target, row in zip(one.target, one.labelled, strict=True):
            assert set(target.unique().tolist()) <= {0, 255, *row.nonzero().flatten().tolist()}


def test_a_memory_is_written_and_read(tmp_path, two_tasks):
    _, memory = two_tasks()
    memory.save(tmp_path)
    again = SegmentationMemory(12)
    again.load(tmp_path)
    for one, other in zip(memory.exemplars, again.exemplars, strict=True):
        assert (one.index, one.labelled, one.task) == (other.index, other.labelled, other.task)
        assert torch.equal(one.mask, other.mask)
    (tmp_path / "empty").mkdir()
    SegmentationMemory(3).save(tmp_path / "empty")
    again.load(tmp_path / "empty")
    assert not len(again)
