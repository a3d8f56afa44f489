"""Tests of :mod:`myosotis.continual.segmentation.scenario`."""

import pytest
from hypothesis import given, strategies as st

from myosotis.continual.segmentation.scenario import assign_images, capped, class_incremental_segmentation, remap_table

KINDS = ("disjoint", "overlapped", "partitioned", "sequential")


@st.composite
def worlds(draw):
    """Images with their classes, and a split of the classes into tasks."""
    count = draw(st.integers(2, 7))
    sets = draw(st.lists(st.frozensets(st.integers(1, count)), min_size=1, max_size=25))
    order = draw(st.permutations(range(1, count + 1)))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1))))
    tasks = [list(order[start:stop]) for start, stop in zip([0, *cuts], [*cuts, count], strict=True)]
    return [f"image-{place}" for place in range(len(sets))], sets, tasks


@given(worlds(), st.integers(0, 99))
def test_what_holds_in_every_scenario(world, seed):
    names, sets, tasks = world
    of_name = dict(zip(names, sets, strict=True))
    task_of = {label: task for task, classes in enumerate(tasks) for label in classes}
    found = {kind: assign_images(names, sets, tasks, kind, seed) for kind in KINDS}
    shown = [name for name in names if of_name[name]]
    for task, classes in enumerate(tasks):
        overlapped, parted, disjoint = (found[kind][task] for kind in ("overlapped", "partitioned", "disjoint"))
        assert overlapped == [name for name in names if of_name[name] & set(classes)]
        assert set(parted) <= set(overlapped)
        assert disjoint == [name for name in shown if max(task_of[label] for label in of_name[name]) == task]
    assert found["sequential"] == found["disjoint"]
    for kind in ("partitioned", "disjoint"):
        every = [name for part in found[kind] for name in part]
        assert sorted(every) == sorted(shown)


def test_masks_show_what_their_task_may(make_stream):
    for kind in KINDS:
        found = make_stream(kind, class_order=[3, 1, 4, 2])
        assert found.channel_of == {3: 1, 1: 2, 4: 3, 2: 4}
        assert found.classes == ("class 3", "class 1", "class 4", "class 2")
        for number, task in enumerate(found.tasks):
            table = found.train_table(number)
            assert table[255] == 255
            own = set(range(1, task.channels.stop)) if kind == "sequential" else set(task.channels)
            for place in task.train.tolist():
                shown = set(table[found.train.masks[place].long()].unique().tolist())
                assert shown <= own | {0}
                assert shown & set(task.channels)
    found = make_stream()
    assert found.test_table(0).tolist()[:5] == [0, 1, 2, 255, 255]
    assert make_stream(unseen="background").test_table(0).tolist()[:5] == [0, 1, 2, 0, 0]
    assert remap_table({3: 1}, {3}, 255)[[0, 1, 3, 255]].tolist() == [0, 255, 1, 255]


def test_matched_sizes(make_stream):
    parted = [len(task.train) for task in make_stream("partitioned").tasks]
    matched = make_stream("overlapped", match_sizes=True)
    assert [len(task.train) for task in matched.tasks] == parted
    whole = make_stream("overlapped")
    for task, same in zip(matched.tasks, whole.tasks, strict=True):
        assert set(task.train.tolist()) <= set(same.train.tolist())
    assert capped([["a", "b"], ["c"]], [1, 5])[1] == ["c"]
    assert {capped([["a", "b"]], [1], seed)[0][0] for seed in range(20)} == {"a", "b"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_order": [1, 2, 3]}, "each of 4 classes once"),
        ({"class_order": [1, 2, 3, 3]}, "each of 4 classes once"),
    ],
)
def test_orders_that_do_not_fit(options, message, make_stream):
    with pytest.raises(ValueError, match=message):
        make_stream(**options)


def test_splits_that_do_not_fit(drawn_sets, make_images):
    images, test = make_images(drawn_sets(20)), make_images(drawn_sets(4), prefix="t")
    for first, per_task in ((2, 3), (0, 2), (2, (1, 2)), (5, 1)):
        with pytest.raises(ValueError, match="the number of classes is 4"):
            class_incremental_segmentation(images, test, first, per_task)
    assert class_incremental_segmentation(images, test, 1, (2, 1)).sizes == (1, 2, 1)
    with pytest.raises(ValueError, match="different classes"):
        class_incremental_segmentation(images, make_images([{1}], classes=3), 2, 1)


def test_nothing_to_learn_from(make_images):
    test = make_images([frozenset({1, 2, 3, 4})])
    without = make_images([frozenset({1, 2}), frozenset({4})])
    with pytest.raises(ValueError, match="'class 3' is in no training image"):
        class_incremental_segmentation(without, test, 2, 1)
    # Class 1 never stands alone, so that in the disjoint scenario its task has no image.
    hidden = make_images([frozenset({1, 2}), frozenset({2, 3}), frozenset({4})])
    with pytest.raises(ValueError, match=r"task 1 \(class 1\) has no images in the disjoint scenario"):
        class_incremental_segmentation(hidden, test, 1, 1, kind="disjoint")
    # Class 2 has images, but all of them are of the second task.
    shadowed = make_images([frozenset({1}), frozenset({2, 3}), frozenset({3}), frozenset({4})])
    with pytest.raises(ValueError, match=r"'class 2' is in no image of its own task in the disjoint scenario"):
        class_incremental_segmentation(shadowed, test, 2, 1, kind="disjoint")
    with pytest.raises(ValueError, match="no test image shows a class"):
        class_incremental_segmentation(hidden, make_images([frozenset()]), 2, 1)
    # A class of few pixels does not count.
    with pytest.raises(ValueError, match="'class 1' is in no training image"):
        class_incremental_segmentation(hidden, test, 2, 1, min_pixels=5)
