"""Which images come when, in four scenarios."""

import json
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from myosotis.continual.segmentation.partitions import Partition, make_partition, partition
from myosotis.continual.segmentation.reappearance import reappearance_report
from myosotis.continual.segmentation.scenario import assign_images, capped, class_incremental_segmentation, remap_table
from myosotis.data.masks import resident
from myosotis.engine.errors import InputError

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


@given(worlds(), st.integers(0, 99), st.randoms(use_true_random=False))
def test_a_partition_depends_on_seed_and_name_alone(world, seed, source):
    names, sets, tasks = world
    first = partition(names, sets, seed)
    assert all(first[name] in labels for name, labels in zip(names, sets, strict=True) if labels)
    assert set(first) == {name for name, labels in zip(names, sets, strict=True) if labels}
    pairs = [*zip(names, sets, strict=True), ("one more", frozenset({1, 2})), ("and one", frozenset({1}))]
    source.shuffle(pairs)
    again = partition([name for name, _ in pairs], [labels for _, labels in pairs], seed)
    assert {name: again[name] for name in first} == first
    assert again["and one"] == 1
    # Other tasks of the same classes: the images of each class stay together.
    whole = assign_images(names, sets, [[label for part in tasks for label in part]], "partitioned", seed)
    assert sorted(whole[0]) == sorted(first)


def test_a_partition_is_even_and_has_a_seed():
    names = [f"{place}" for place in range(4000)]
    sets = [frozenset({3, 8})] * 4000
    one, other = partition(names, sets, 0), partition(names, sets, 1)
    assert one != other
    # Five standard deviations of a fair coin.
    assert abs(sum(label == 3 for label in one.values()) - 2000) < 5 * 1000**0.5
    agreed = sum(one[name] == other[name] for name in names)
    assert abs(agreed - 2000) < 5 * 1000**0.5


def test_other_ways_to_part():
    names, sets = ["a", "b", "c"], [frozenset({1, 2}), frozenset({1}), frozenset({1, 3})]
    assert partition(names, sets, assign="rarest") == {"a": 2, "b": 1, "c": 3}
    areas = torch.zeros(3, 256, dtype=torch.long)
    areas[:, 1], areas[0, 2], areas[2, 3] = 5, 9, 5
    assert partition(names, sets, assign="largest_area", areas=areas) == {"a": 2, "b": 1, "c": 1}
    for assign, given_areas in (("largest_area", None), ("uniform", areas)):
        with pytest.raises(ValueError, match="'areas' belongs to 'largest_area'"):
            partition(names, sets, assign=assign, areas=given_areas)
    with pytest.raises(ValueError, match="unique"):
        partition(["a", "a"], [{1}, {1}])
    with pytest.raises(ValueError, match="do not match"):
        partition(["a"], [{1}, {1}])
    with pytest.raises(ValueError, match="class 2 is in two tasks"):
        assign_images(["a"], [{1}], [[1, 2], [2]])


def make_images(sets, classes=4, side=4, prefix="i"):
    """Each class of an image fills a row of its mask; the rest is background."""
    masks = []
    for labels in sets:
        mask = torch.zeros(side, side, dtype=torch.uint8)
        for row, label in enumerate(sorted(labels)):
            mask[row] = label
        masks.append(mask)
    pixels = [mask.unsqueeze(0) * 40 for mask in masks]
    names = [f"{prefix}{place:03d}" for place in range(len(sets))]
    return resident(pixels, masks, names, [f"class {label}" for label in range(1, classes + 1)])


def drawn_sets(count, classes=4, seed=0):
    source = random.Random(seed)
    return [frozenset(source.sample(range(1, classes + 1), source.randint(1, 3))) for _ in range(count)]


def stream(kind="partitioned", count=60, **options):
    images, test = make_images(drawn_sets(count)), make_images(drawn_sets(12, seed=1), prefix="t")
    return class_incremental_segmentation(images, test, 2, 1, kind=kind, **options)


def test_what_has_been_seen_before():
    for kind, share in (("overlapped", 1.0), ("partitioned", 0.0), ("disjoint", 0.0), ("sequential", 0.0)):
        found = stream(kind).reappearance
        assert found.seen_old_pixels == [None, share, share]
        assert found.seen_images[0] == 0
        assert (found.repeated_images > 0) == (kind == "overlapped")
        assert (found.future_pixels[0] > 0) == (kind in ("overlapped", "partitioned"))


def test_reappearance_by_hand():
    areas = torch.zeros(3, 256, dtype=torch.long)
    areas[0, 1], areas[0, 2] = 10, 4
    areas[1, 2] = 6
    areas[2, 1], areas[2, 2] = 3, 2
    # "a" comes twice; "c" shows an old class in a task that is its first.
    found = reappearance_report([["a"], ["a", "b", "c"]], ["a", "b", "c"], areas, [[1], [2]])
    assert found.images == [1, 3]
    assert found.repeated_images == pytest.approx(1 / 3)
    assert found.seen_images == [0, pytest.approx(1 / 3)]
    assert found.old_pixels == [0, 13]
    assert found.seen_old_pixels == [None, pytest.approx(10 / 13)]
    assert found.future_pixels == [4, 0]


def test_masks_show_what_their_task_may():
    for kind in KINDS:
        found = stream(kind, class_order=[3, 1, 4, 2])
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
    found = stream()
    assert found.test_table(0).tolist()[:5] == [0, 1, 2, 255, 255]
    assert stream(unseen="background").test_table(0).tolist()[:5] == [0, 1, 2, 0, 0]
    assert remap_table({3: 1}, {3}, 255)[[0, 1, 3, 255]].tolist() == [0, 255, 1, 255]


def test_matched_sizes():
    parted = [len(task.train) for task in stream("partitioned").tasks]
    matched = stream("overlapped", match_sizes=True)
    assert [len(task.train) for task in matched.tasks] == parted
    whole = stream("overlapped")
    for task, same in zip(matched.tasks, whole.tasks, strict=True):
        assert set(task.train.tolist()) <= set(same.train.tolist())
    assert capped([["a", "b"], ["c"]], [1, 5])[1] == ["c"]
    assert {capped([["a", "b"]], [1], seed)[0][0] for seed in range(20)} == {"a", "b"}


def test_a_partition_in_a_file(tmp_path):
    names, sets = ["a", "b"], [frozenset({1, 2}), frozenset({2})]
    made = make_partition(names, sets, seed=3)
    made.save(tmp_path / "p.json")
    assert Partition.load(tmp_path / "p.json", names[::-1], sets[::-1]) == made
    for others, theirs in ((["a", "c"], sets), (names, [frozenset({1}), frozenset({2})])):
        with pytest.raises(InputError, match="belongs to other images or labels"):
            Partition.load(tmp_path / "p.json", others, theirs)
    with pytest.raises(InputError, match="no such partition"):
        Partition.load(tmp_path / "q.json", names, sets)
    for content in ("{", "[]", '{"version": 1}', '{"version": 1, "of_image": {"a": "b"}}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(InputError, match="is no partition"):
            Partition.load(tmp_path / "bad.json", names, sets)
    later = {**json.loads((tmp_path / "p.json").read_text()), "version": 9}
    (tmp_path / "later.json").write_text(json.dumps(later))
    with pytest.raises(InputError, match="partition version 9"):
        Partition.load(tmp_path / "later.json", names, sets)


def test_a_given_partition_is_used():
    images = make_images(drawn_sets(60))
    other = make_partition(images.names, images.label_sets(), seed=5)
    given_one = stream(given=other)
    drawn_one = stream(seed=5)
    for one, same in zip(given_one.tasks, drawn_one.tasks, strict=True):
        assert one.train.tolist() == same.train.tolist()
    assert stream(seed=6).tasks[0].train.tolist() != drawn_one.tasks[0].train.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_order": [1, 2, 3]}, "each of 4 classes once"),
        ({"class_order": [1, 2, 3, 3]}, "each of 4 classes once"),
    ],
)
def test_orders_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        stream(**options)


def test_splits_that_do_not_fit():
    images, test = make_images(drawn_sets(20)), make_images(drawn_sets(4), prefix="t")
    for first, per_task in ((2, 3), (0, 2), (2, (1, 2)), (5, 1)):
        with pytest.raises(ValueError, match="4 classes cannot be split"):
            class_incremental_segmentation(images, test, first, per_task)
    assert class_incremental_segmentation(images, test, 1, (2, 1)).sizes == (1, 2, 1)
    with pytest.raises(ValueError, match="different classes"):
        class_incremental_segmentation(images, make_images([{1}], classes=3), 2, 1)


def test_nothing_to_learn_from():
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
