"""The images of each task, the classes that their masks label in it, and how often images reappear.

Classes are the numbers in the masks, from 1; ``tau(c)`` is the task of class c.
"""

from collections.abc import Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.continual.segmentation.partitions import Assign, Partition, check_names, make_partition, partition
from myosotis.continual.segmentation.reappearance import reappearance_report
from myosotis.continual.segmentation.result import Reappearance
from myosotis.data.masks import IGNORE, MaskedImages
from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed, generator

Kind = Literal["disjoint", "overlapped", "partitioned", "sequential"]

_VALUES = 256


def assign_images(
    image_ids: Sequence[str],
    label_sets: Sequence[AbstractSet[int]],
    task_classes: Sequence[Sequence[int]],
    kind: Kind = "partitioned",
    seed: int = 0,
    assign: Assign = "uniform",
    areas: Int[Tensor, "n values"] | None = None,
) -> list[list[str]]:
    """Return the images of every task, in the order of ``image_ids``.

    | kind | tasks of an image with classes L |
    | --- | --- |
    | ``disjoint``, ``sequential`` | the largest tau of L: it has no later class |
    | ``overlapped`` | every tau of L: it reappears with other labels |
    | ``partitioned`` | tau of a single class of L, see :func:`partition` |

    Args:
        image_ids: Unique names of the images.
        label_sets: Classes of each image; those of no task do not count.
        task_classes: Classes of each task.
        kind: Kind of the scenario, see above.
        seed: Seed of the partition, see :func:`partition`.
        assign: Rule of the partition.
        areas: Number of pixels of each value in each image, for ``assign="largest_area"``.

    Raises:
        SettingsError: Lengths do not match, a name or a class is repeated, or the kind is unknown.

    Example:
        >>> images, labels = ["a", "b", "c"], [{1, 2}, {1}, {2}]
        >>> assign_images(images, labels, [[1], [2]], "overlapped")
        [['a', 'b'], ['a', 'c']]
        >>> assign_images(images, labels, [[1], [2]], "disjoint")
        [['b'], ['a', 'c']]
    """
    task_of = tasks_of(task_classes)
    check_names(image_ids, label_sets)
    known = [frozenset(label for label in labels if label in task_of) for labels in label_sets]
    if kind == "partitioned":
        of_class = partition(image_ids, known, seed, assign, areas)
        task_sets = [{task_of[of_class[name]]} if name in of_class else set() for name in image_ids]
    elif kind == "overlapped":
        task_sets = [{task_of[label] for label in labels} for labels in known]
    elif kind in ("disjoint", "sequential"):
        task_sets = [{max(task_of[label] for label in labels)} if labels else set() for labels in known]
    else:
        raise SettingsError(f"unknown scenario {kind!r}")
    return [
        [name for name, tasks in zip(image_ids, task_sets, strict=True) if task in tasks]
        for task in range(len(task_classes))
    ]


def tasks_of(task_classes: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return tau, the index of the task of each class.

    Raises:
        SettingsError: A class is in two tasks.
    """
    task_of: dict[int, int] = {}
    for task, classes in enumerate(task_classes):
        for label in classes:
            if label in task_of:
                raise SettingsError(f"class {label} is in two tasks")
            task_of[label] = task
    return task_of


def capped(tasks: Sequence[Sequence[str]], sizes: Sequence[int], seed: int = 0) -> list[list[str]]:
    """Return tasks with at most ``sizes`` images, drawn by a hash of seed and name.

    With the sizes of the partitioned scenario an overlapped one differs from it in the reappearance of images, not in
    their number.

    Args:
        tasks: Images of each task.
        sizes: Largest number of images of each task.
        seed: Seed of the draw.

    Raises:
        ValueError: The number of sizes is not the number of tasks.
    """
    limited = []
    for number, (names, size) in enumerate(zip(tasks, sizes, strict=True)):
        drawn = sorted(names, key=lambda name: (derive_seed(seed, "cap", number, name), name))[:size]
        selected = set(drawn)
        limited.append([name for name in names if name in selected])
    return limited


def remap_table(channel_of: Mapping[int, int], visible: AbstractSet[int], hidden: int = 0) -> UInt8[Tensor, "256"]:
    """Return a table from the values of a mask to channels: ``table[mask.long()]`` is the mask of a task.

    Args:
        channel_of: Channel of each class.
        visible: Classes that are labelled.
        hidden: Value of the other classes: 0, background, or 255, ignored.

    Example:
        >>> table = remap_table({7: 1, 3: 2}, {3})
        >>> table[torch.tensor([0, 3, 7, 255])].tolist()
        [0, 2, 0, 255]
    """
    table = torch.full((_VALUES,), hidden, dtype=torch.uint8)
    table[0], table[IGNORE] = 0, IGNORE
    for label in visible:
        table[label] = channel_of[label]
    return table


@dataclass(frozen=True)
class SegmentationTask:
    """A task.

    Attributes:
        classes: Values of the classes in the masks, in the order of their channels.
        channels: Channels of these classes.
        train: Indices of its training images.
    """

    classes: tuple[int, ...]
    channels: range
    train: Int[Tensor, " n"]


@dataclass(frozen=True)
class SegmentationStream:
    """A stream of tasks on images with masks. Channel 0 is the background, classes follow in the order of arrival.

    Attributes:
        kind: Kind of the scenario, see :func:`assign_images`.
        train: All training images.
        test: All test images.
        tasks: Tasks of the stream.
        unseen: Treatment of test pixels of later classes: ``"ignore"`` or ``"background"``.
        reappearance: How often images reappear.
        partition: Partition behind the tasks or their sizes; None in a scenario without one.
    """

    kind: Kind
    train: MaskedImages
    test: MaskedImages
    tasks: tuple[SegmentationTask, ...]
    unseen: Literal["ignore", "background"]
    reappearance: Reappearance
    partition: Partition | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of classes of each task."""
        return tuple(len(task.classes) for task in self.tasks)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of arrival."""
        return tuple(self.train.classes[label - 1] for task in self.tasks for label in task.classes)

    @property
    def channel_of(self) -> dict[int, int]:
        """Channel of each class, by its value in the masks."""
        return {
            label: channel for task in self.tasks for label, channel in zip(task.classes, task.channels, strict=True)
        }

    def known_classes(self, number: int) -> list[int]:
        """Return the classes of the tasks up to ``number``, by their values in the masks."""
        return [label for task in self.tasks[: number + 1] for label in task.classes]

    def train_table(self, number: int) -> UInt8[Tensor, "256"]:
        """Return the table of the training masks of a task: its own classes, in a sequential stream all so far."""
        visible = self.known_classes(number) if self.kind == "sequential" else list(self.tasks[number].classes)
        return remap_table(self.channel_of, set(visible))

    def test_table(self, number: int) -> UInt8[Tensor, "256"]:
        """Return the table of the test masks after a task."""
        return remap_table(self.channel_of, set(self.known_classes(number)), IGNORE if self.unseen == "ignore" else 0)


def class_incremental_segmentation(
    train: MaskedImages,
    test: MaskedImages,
    first: int,
    per_task: int | Sequence[int],
    *,
    kind: Kind = "partitioned",
    class_order: Sequence[int] | None = None,
    order_seed: int | None = None,
    seed: int = 0,
    assign: Assign = "uniform",
    min_pixels: int = 1,
    match_sizes: bool = False,
    unseen: Literal["ignore", "background"] = "ignore",
    given: Partition | None = None,
) -> SegmentationStream:
    """Return a stream of tasks.

    Args:
        train: Training images.
        test: Test images of the same classes.
        first: Number of classes of the first task.
        per_task: Number of classes of each later task; a divisor of the rest, or a number for each task.
        kind: Kind of the scenario, see :func:`assign_images`.
        class_order: Classes in the order of arrival; as listed without this and the next.
        order_seed: Seed of the order of classes.
        seed: Seed of the partition.
        assign: Rule of the partition, see :func:`partition`.
        min_pixels: Least number of pixels of a class in an image that shows it.
        match_sizes: Whether each task is limited to its number of images in the partitioned scenario.
        unseen: Treatment of test pixels of later classes.
        given: Partition to use instead of drawing one.

    Raises:
        SettingsError: Classes cannot be split like that, one is in no training image or in none of its task, or a task
            is left without images.
    """
    if train.classes != test.classes:
        raise SettingsError("training and test images have different classes")
    count = len(train.classes)
    order = list(range(1, count + 1)) if class_order is None else list(class_order)
    if sorted(order) != list(range(1, count + 1)):
        raise SettingsError(f"the order must name each of {count} classes once")
    if order_seed is not None:
        order = (torch.randperm(count, generator=generator(order_seed, "class order")) + 1).tolist()
    groups = _grouped(order, first, per_task)
    sets = train.label_sets(min_pixels)
    shown = frozenset().union(*sets)
    missing = next((label for label in order if label not in shown), None)
    if missing is not None:
        raise SettingsError(f"class '{train.classes[missing - 1]}' is in no training image")
    if not int(test.areas[:, 1 : count + 1].sum()):
        raise SettingsError("no test image shows a class")
    names = train.names
    drawn: Partition | None = None
    if kind == "partitioned" or match_sizes:
        areas = train.areas if assign == "largest_area" else None
        drawn = make_partition(names, sets, seed, assign, areas) if given is None else given
        of_image, task_of = drawn.of_image, tasks_of(groups)
        parts = [
            [name for name in names if name in of_image and task_of[of_image[name]] == task]
            for task in range(len(groups))
        ]
        images = parts if kind == "partitioned" else assign_images(names, sets, groups, kind)
        images = capped(images, [len(part) for part in parts], seed)
    else:
        images = assign_images(names, sets, groups, kind)
    _check_tasks(train, sets, groups, images, kind)
    row_of = {name: row for row, name in enumerate(names)}
    tasks, channel = [], 1
    for group, part in zip(groups, images, strict=True):
        channels = range(channel, channel + len(group))
        tasks.append(SegmentationTask(tuple(group), channels, torch.tensor([row_of[name] for name in part])))
        channel = channels.stop
    report = reappearance_report(images, names, train.areas, groups)
    return SegmentationStream(kind, train, test, tuple(tasks), unseen, report, drawn)


def _check_tasks(
    train: MaskedImages,
    sets: Sequence[AbstractSet[int]],
    groups: Sequence[Sequence[int]],
    images: Sequence[Sequence[str]],
    kind: Kind,
) -> None:
    """Raise ``SettingsError`` if a task has no images, or none of a class of its own."""
    set_of = dict(zip(train.names, sets, strict=True))
    for number, (group, part) in enumerate(zip(groups, images, strict=True), start=1):
        if not part:
            classes = ", ".join(train.classes[label - 1] for label in group)
            raise SettingsError(f"task {number} ({classes}) has no images in the {kind} scenario")
    for group, part in zip(groups, images, strict=True):
        shown = frozenset().union(*(set_of[name] for name in part))
        hidden = next((label for label in group if label not in shown), None)
        if hidden is not None:
            raise SettingsError(
                f"class '{train.classes[hidden - 1]}' is in no image of its own task in the {kind} scenario; another "
                "seed, order or rule of assignment may change that"
            )


def _grouped(order: list[int], first: int, per_task: int | Sequence[int]) -> list[list[int]]:
    rest = len(order) - first
    if isinstance(per_task, int):
        if first < 1 or rest < 0 or per_task < 1 or rest % per_task:
            raise SettingsError(
                f"the number of classes is {len(order)}, expected first={first} plus a multiple of per_task={per_task}"
            )
        sizes = [first, *[per_task] * (rest // per_task)]
    else:
        sizes = [first, *per_task]
        if min(sizes) < 1 or sum(sizes) != len(order):
            raise SettingsError(f"the number of classes is {len(order)}, expected {' + '.join(map(str, sizes))}")
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
