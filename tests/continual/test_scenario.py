"""Streams of tasks: who is where, and that files in another order change nothing."""

import pytest
import torch

from myosotis.continual.scenario import class_incremental, data_incremental, domain_incremental, task_sizes
from myosotis.data.images import ImageSet


def some(count=30, classes=5, prefix="image"):
    labels = torch.arange(count) % classes
    images = torch.randint(0, 256, (count, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = tuple(f"{prefix}-{place:02d}" for place in range(count))
    return ImageSet(images, labels, names, tuple("edcba"[:classes]))


def by_name(view):
    return dict(zip(view.names, view.labels.tolist(), strict=True))


def test_classes_arrive_in_order():
    stream = class_incremental(some(), 1, 2, test=some(10), class_order=["a", "b", "c", "d", "e"], validation=0.5)
    assert [list(task.classes) for task in stream] == [[0], [1, 2], [3, 4]]
    assert stream.classes == ("a", "b", "c", "d", "e")
    for task in stream:
        assert set(task.train.labels.tolist()) == set(task.classes) == set(task.test.labels.tolist())
        assert len(task.train) == len(task.validation) == 3 * len(task.classes)
        assert not set(task.train.names) & set(task.validation.names)
    original = dict(zip(some().names, some().labels.tolist(), strict=True))
    for name, label in by_name(stream[0].train).items():
        assert some().classes[original[name]] == stream.classes[label]
    samples = stream[1].train.samples()
    assert samples.names == stream[1].train.names
    assert samples.images.equal(stream.train.images[stream[1].train.indices])


def test_membership_does_not_depend_on_the_order_of_files():
    images = some()
    turned = images.subset(list(reversed(range(len(images)))))
    for one, other in zip(
        class_incremental(images, 1, 1, order_seed=3, validation=0.3),
        class_incremental(turned, 1, 1, order_seed=3, validation=0.3),
        strict=True,
    ):
        assert by_name(one.train) == by_name(other.train)
        assert by_name(one.validation) == by_name(other.validation)
    for one, other in zip(data_incremental(images, 3), data_incremental(turned, 3), strict=True):
        assert by_name(one.train) == by_name(other.train)


def test_order_seeds():
    orders = {class_incremental(some(), 1, 1, order_seed=seed).classes for seed in range(6)}
    assert len(orders) > 2
    assert (
        class_incremental(some(), 1, 1, order_seed=1).classes == class_incremental(some(), 5, 1, order_seed=1).classes
    )
    assert class_incremental(some(), 5, 1).classes == some().classes


def test_task_sizes():
    assert task_sizes(100, 50, 10) == [50, 10, 10, 10, 10, 10]
    assert task_sizes(5, 2, [1, 1, 1]) == [2, 1, 1, 1]
    with pytest.raises(ValueError, match="the number of classes is 10, expected first=4 plus a multiple of per_task=4"):
        task_sizes(10, 4, 4)
    with pytest.raises(ValueError, match="2 \\+ 1 = 3 classes, the data 5"):
        task_sizes(5, 2, [1])


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (["a", "b", "c", "d"], "e is missing"),
        (["a", "b", "c", "d", "d"], "d appears twice"),
        (["a", "b", "c", "d", "f"], "unknown class 'f'"),
        ([0, 1, 2, 3, 5], "unknown class 5"),
    ],
)
def test_wrong_orders(order, message):
    with pytest.raises(ValueError, match=message):
        class_incremental(some(), 1, 1, class_order=order)


def test_other_wrong_input():
    with pytest.raises(ValueError, match="either order_seed or class_order"):
        class_incremental(some(), 1, 1, order_seed=0, class_order=[0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="validation must be in"):
        class_incremental(some(), 1, 1, validation=1.0)
    with pytest.raises(ValueError, match="class a has no training sample"):
        class_incremental(some(4), 1, 1)
    images = some()
    labels = images.labels.clone()
    labels[3] = 7
    with pytest.raises(ValueError, match="image-03 has the label 7"):
        class_incremental(ImageSet(images.images, labels, images.names, images.classes), 1, 1)
    with pytest.raises(ValueError, match="the test set has the classes"):
        class_incremental(some(), 1, 1, test=some(10, 4))


def test_domains():
    stream = domain_incremental([some(10), some(20)], tests=[some(5), some(10)])
    assert [len(task.train) for task in stream] == [10, 20]
    assert [len(task.test) for task in stream] == [5, 10]
    assert [list(task.classes) for task in stream] == [[0, 1, 2, 3, 4]] * 2
    assert set(stream[1].train.names) == {f"1/{name}" for name in some(20).names}
    with pytest.raises(ValueError, match="same classes"):
        domain_incremental([some(), some(8, 4)])
    with pytest.raises(ValueError, match="2 domains, but 1 test sets"):
        domain_incremental([some(), some()], tests=[some()])


def test_data_dealt_out():
    stream = data_incremental(some(30), 3, test=some(10))
    names = [set(task.train.names) for task in stream]
    assert set().union(*names) == set(some(30).names)
    assert sum(map(len, names)) == 30
    for task in stream:
        assert torch.bincount(task.train.labels).tolist() == [2] * 5
        assert len(task.test) == 10
    with pytest.raises(ValueError, match="class e has 6 samples, fewer than the 7 tasks"):
        data_incremental(some(30), 7)
