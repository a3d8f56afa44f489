"""Tests of :mod:`myosotis.continual.segmentation.partitions`."""

import json

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.continual.segmentation.partitions import Partition, make_partition, partition
from myosotis.continual.segmentation.scenario import assign_images
from myosotis.engine.errors import InputError


@st.composite
def worlds(draw):
    """Images with their classes, and a split of the classes into tasks."""
    count = draw(st.integers(2, 7))
    sets = draw(st.lists(st.frozensets(st.integers(1, count)), min_size=1, max_size=25))
    order = draw(st.permutations(range(1, count + 1)))
    cuts = sorted(draw(st.sets(st.integers(1, count - 1))))
    tasks = [list(order[start:stop]) for start, stop in zip([0, *cuts], [*cuts, count], strict=True)]
    return [f"image-{place}" for place in range(len(sets))], sets, tasks


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
        with pytest.raises(InputError, match="is not a partition"):
            Partition.load(tmp_path / "bad.json", names, sets)
    later = {**json.loads((tmp_path / "p.json").read_text()), "version": 9}
    (tmp_path / "later.json").write_text(json.dumps(later))
    with pytest.raises(InputError, match="partition version 9"):
        Partition.load(tmp_path / "later.json", names, sets)


def test_a_given_partition_is_used(drawn_sets, make_images, make_stream):
    images = make_images(drawn_sets(60))
    other = make_partition(images.names, images.label_sets(), seed=5)
    given_one = make_stream(given=other)
    drawn_one = make_stream(seed=5)
    for one, same in zip(given_one.tasks, drawn_one.tasks, strict=True):
        assert one.train.tolist() == same.train.tolist()
    assert make_stream(seed=6).tasks[0].train.tolist() != drawn_one.tasks[0].train.tolist()
