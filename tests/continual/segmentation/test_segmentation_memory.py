"""What a memory of masks holds, and what it can never show."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_segmentation_scenario import drawn_sets, make_images

from myosotis.continual.segmentation.batches import DenseAugmentation, SegmentationBatches
from myosotis.continual.segmentation.memory import Candidate, SegmentationMemory
from myosotis.continual.segmentation.scenario import remap_table

PLAIN = DenseAugmentation()


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
    with pytest.warns(UserWarning, match="the memory holds 5 images, there are 2 candidates"):
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


def two_tasks():
    """Images, and a memory of twelve after two tasks of two classes."""
    images = make_images(drawn_sets(40), side=4)
    memory = SegmentationMemory(12, seed=1)
    channel_of = {label: label for label in range(1, 5)}
    for task, classes in enumerate(([1, 2], [3, 4])):
        table = remap_table(channel_of, set(classes))
        found = [
            Candidate(place, shown & set(classes), tuple(classes), task)
            for place, shown in enumerate(images.label_sets())
            if shown & set(classes) and place % 2 == task
        ]
        memory.update(found, range(1, classes[-1] + 1), lambda place, table=table: table[images.masks[place].long()])
    return images, memory


def test_a_stored_mask_shows_what_its_task_labelled():
    _, memory = two_tasks()
    assert {one.task for one in memory.exemplars} == {0, 1}
    for one in memory.exemplars:
        assert one.shown <= set(one.labelled)
    assert memory.audit({0: [1, 2], 1: [3, 4]})["leaks"] == 0
    assert memory.audit({0: [1], 1: [3, 4]})["leaks"] > 0
    assert sum(memory.audit({0: [1, 2], 1: [3, 4]})["of_class"].values()) >= 12


def test_nothing_leaks_from_the_source_masks():
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


def test_a_memory_is_written_and_read(tmp_path):
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


# Batches --------------------------------------------------------------------------------------------------------------


def current(count=10, size=4, start=0, stop=5, augmentation=PLAIN):
    images = make_images(drawn_sets(count))
    table = remap_table({label: label for label in range(1, 5)}, {1, 2})
    made = SegmentationBatches(
        images, torch.arange(count), table, [1, 2], 3, (), size, augmentation, 3, torch.device("cpu")
    )
    return made, list(made(start, stop))


def test_a_batch_depends_on_its_number_alone():
    augmentation = DenseAugmentation((0.5, 2.0), (4, 4), flip=True)
    _, whole = current(augmentation=augmentation)
    _, late = current(start=3, augmentation=augmentation)
    for one, other in zip(whole[3:], late, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.target, other.target)


def test_every_image_comes_once_in_an_epoch():
    made, batches = current(count=10, size=5, stop=2)
    assert made.per_epoch == 2
    images = make_images(drawn_sets(10)).images
    seen = sorted((one * 255).round().byte().flatten().tolist() for batch in batches for one in batch.images)
    assert seen == sorted(one.flatten().tolist() for one in images)


def test_image_and_mask_change_alike():
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:6, 1:5] = 1
    image = (mask * 200).unsqueeze(0)
    for seed in range(20):
        augmentation = DenseAugmentation((0.75, 1.5), (8, 8), flip=True)
        pixels, target = augmentation(image, mask, torch.Generator().manual_seed(seed))
        assert pixels.shape == (1, 8, 8)
        assert target.shape == (8, 8)
        # Bilinear edges are in between: they are not asked.
        assert (target[pixels[0] > 0.7] == 1).all()
        assert (target[pixels[0] < 0.05] != 1).all()
    pixels, target = DenseAugmentation(crop=(10, 9))(image, mask, torch.Generator())
    assert (target[8:] == 255).all()
    assert (target[:8, 8] == 255).all()
    assert torch.equal(target[:8, :8], mask)
    assert (pixels[0, 8:] == 0).all()
