"""Which images a task trains on, what their masks show then, and how often an image comes back.

Classes are the numbers in the masks, from 1; ``tau(c)`` is the task of class c.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.data.masks import IGNORE, MaskedImages
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_json
from myosotis.engine.seeding import derive_seed, generator

Kind = Literal["disjoint", "overlapped", "partitioned", "sequential"]
Assign = Literal["uniform", "rarest", "largest_area"]

_VERSION = 1
_VALUES = 256


def partition(
    image_ids: Sequence[str],
    label_sets: Sequence[AbstractSet[int]],
    seed: int = 0,
    assign: Assign = "uniform",
    areas: Int[Tensor, "n values"] | None = None,
) -> dict[str, int]:
    """Give every image one of the classes in it (Kwak, Cha, Moon, ECCV 2024, partitioned scenario).

    ``"uniform"`` takes a hash of seed and name, so that neither the order of the files nor other images change what an
    image gets. The authors' code draws from one stream in the order of the files instead. ``"rarest"`` takes the class
    that fewest images show, which other images do change; ``"largest_area"`` the one with most pixels.

    Args:
        image_ids: Unique names.
        label_sets: The classes in each.
        seed: Of the draw.
        assign: See above.
        areas: Pixels of each value in each image, for ``"largest_area"``.

    Returns:
        The class of each image; images without any class are left out.

    Raises:
        SettingsError: Lengths do not match, names are not unique, or areas are missing.

    Example:
        >>> partition(["a", "b"], [{3}, set()])
        {'a': 3}
    """
    _check(image_ids, label_sets)
    if (assign == "largest_area") != (areas is not None):
        raise SettingsError("'areas' belongs to 'largest_area', which needs it")
    counts: dict[int, int] = {}
    for labels in label_sets:
        for label in labels:
            counts[label] = counts.get(label, 0) + 1
    found = {}
    for place, (name, labels) in enumerate(zip(image_ids, label_sets, strict=True)):
        ordered = sorted(labels)
        if not ordered:
            continue
        if assign == "uniform":
            found[name] = ordered[derive_seed(seed, "partition", name) % len(ordered)]
        elif assign == "rarest":
            found[name] = min(ordered, key=lambda label: (counts[label], label))
        else:
            assert areas is not None  # noqa: S101 - checked above
            row = areas[place]
            found[name] = max(ordered, key=lambda label, row=row: (int(row[label]), -label))  # type: ignore[misc]
    return found


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
    | ``disjoint``, ``sequential`` | the largest tau of L: it has no class of the future |
    | ``overlapped`` | every tau of L: it comes back, with other labels |
    | ``partitioned`` | tau of one class of L, see :func:`partition` |

    Args:
        image_ids: Unique names.
        label_sets: The classes in each; those of no task do not count.
        task_classes: The classes of each task.
        kind: See above.
        seed: See :func:`partition`, as for the next two.
        assign: Likewise.
        areas: Likewise.

    Raises:
        SettingsError: Lengths do not match, a name or a class stands there twice, or the kind is unknown.

    Example:
        >>> images, labels = ["a", "b", "c"], [{1, 2}, {1}, {2}]
        >>> assign_images(images, labels, [[1], [2]], "overlapped")
        [['a', 'b'], ['a', 'c']]
        >>> assign_images(images, labels, [[1], [2]], "disjoint")
        [['b'], ['a', 'c']]
    """
    task_of = tasks_of(task_classes)
    _check(image_ids, label_sets)
    known = [frozenset(label for label in labels if label in task_of) for labels in label_sets]
    if kind == "partitioned":
        of_class = partition(image_ids, known, seed, assign, areas)
        wanted = [{task_of[of_class[name]]} if name in of_class else set() for name in image_ids]
    elif kind == "overlapped":
        wanted = [{task_of[label] for label in labels} for labels in known]
    elif kind in ("disjoint", "sequential"):
        wanted = [{max(task_of[label] for label in labels)} if labels else set() for labels in known]
    else:
        raise SettingsError(f"unknown scenario {kind!r}")
    return [
        [name for name, tasks in zip(image_ids, wanted, strict=True) if task in tasks]
        for task in range(len(task_classes))
    ]


def tasks_of(task_classes: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return tau, the task of each class.

    Raises:
        SettingsError: A class is in two tasks.
    """
    found: dict[int, int] = {}
    for task, classes in enumerate(task_classes):
        for label in classes:
            if label in found:
                raise SettingsError(f"class {label} is in two tasks")
            found[label] = task
    return found


def capped(tasks: Sequence[Sequence[str]], sizes: Sequence[int], seed: int = 0) -> list[list[str]]:
    """Return tasks with at most so many images each, drawn by a hash of seed and name.

    With the sizes of the partitioned scenario this makes an overlapped one that differs from it in the re-appearance of
    images, not in their number.

    Args:
        tasks: Images of each task.
        sizes: Of each task.
        seed: Of the draw.

    Raises:
        SettingsError: There are not as many sizes as tasks.
    """
    found = []
    for number, (names, size) in enumerate(zip(tasks, sizes, strict=True)):
        drawn = sorted(names, key=lambda name: (derive_seed(seed, "cap", number, name), name))[:size]
        kept = set(drawn)
        found.append([name for name in names if name in kept])
    return found


@dataclass(frozen=True)
class Reappearance:
    """How often images come back.

    Attributes:
        images: Of each task.
        repeated_images: Share of all distinct images that are in more than one task.
        seen_images: Share of the images of each task that an earlier one has trained on; 0 for the first.
        old_pixels: Pixels of classes of earlier tasks in the images of each task.
        seen_old_pixels: Share of them that an earlier task has trained on, with that label; None where there are none.
        future_pixels: Pixels of classes of later tasks in the images of each task, which are background in it.
    """

    images: list[int]
    repeated_images: float
    seen_images: list[float]
    old_pixels: list[int]
    seen_old_pixels: list[float | None]
    future_pixels: list[int]


def reappearance_report(
    tasks: Sequence[Sequence[str]],
    image_ids: Sequence[str],
    areas: Int[Tensor, "n values"],
    task_classes: Sequence[Sequence[int]],
) -> Reappearance:
    """Say how much of what a task shows has been trained on before.

    Args:
        tasks: Images of each task, see :func:`assign_images`.
        image_ids: All images.
        areas: Pixels of each value in each of them.
        task_classes: The classes of each task.
    """
    place = {name: number for number, name in enumerate(image_ids)}
    times: dict[str, int] = {}
    seen_images, old_pixels, shares, future = [], [], [], []
    members = [set(names) for names in tasks]
    for number, names in enumerate(tasks):
        earlier = [label for classes in task_classes[:number] for label in classes]
        later = [label for classes in task_classes[number + 1 :] for label in classes]
        rows = areas[[place[name] for name in names]] if names else areas[:0]
        old_pixels.append(int(rows[:, earlier].sum()))
        future.append(int(rows[:, later].sum()))
        trained = 0
        for task, classes in enumerate(task_classes[:number]):
            again = [place[name] for name in names if name in members[task]]
            trained += int(areas[again][:, list(classes)].sum()) if again else 0
        shares.append(trained / old_pixels[-1] if old_pixels[-1] else None)
        seen_images.append(sum(name in times for name in names) / len(names) if names else 0.0)
        for name in names:
            times[name] = times.get(name, 0) + 1
    repeated = sum(count > 1 for count in times.values()) / len(times) if times else 0.0
    return Reappearance([len(names) for names in tasks], repeated, seen_images, old_pixels, shares, future)


@dataclass(frozen=True)
class Partition:
    """A partition that is kept in a file, so that other runs, and other people's, use the same.

    Attributes:
        seed: See :func:`partition`.
        assign: Likewise.
        of_image: The class of each image.
        fingerprint: Of names and label sets; a file with another one is refused.
    """

    seed: int
    assign: Assign
    of_image: dict[str, int]
    fingerprint: str

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, {"version": _VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path, image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> "Partition":
        """Read it.

        Args:
            path: Of the file.
            image_ids: Of the images that it is to be used for.
            label_sets: The classes in each.

        Raises:
            InputError: The file is missing, is no partition, or belongs to other images.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such partition")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("version")
            content["of_image"] = {str(name): int(label) for name, label in content["of_image"].items()}
            found = cls(**content)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}: is no partition") from None
        if version != _VERSION:
            raise InputError(f"{path}: partition version {version}, expected {_VERSION}")
        if found.fingerprint != fingerprint(image_ids, label_sets):
            raise InputError(f"{path}: belongs to other images or labels")
        shown = {name: labels for name, labels in zip(image_ids, label_sets, strict=True) if labels}
        if found.of_image.keys() != shown.keys() or any(found.of_image[one] not in shown[one] for one in shown):
            raise InputError(f"{path}: gives an image a class that it does not show, or leaves one out")
        return found


def make_partition(
    image_ids: Sequence[str],
    label_sets: Sequence[AbstractSet[int]],
    seed: int = 0,
    assign: Assign = "uniform",
    areas: Int[Tensor, "n values"] | None = None,
) -> Partition:
    """Return a partition with its fingerprint; see :func:`partition`."""
    return Partition(
        seed, assign, partition(image_ids, label_sets, seed, assign, areas), fingerprint(image_ids, label_sets)
    )


def fingerprint(image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> str:
    """Return the SHA-256 of names and their classes, whatever their order."""
    content = sorted((name, sorted(labels)) for name, labels in zip(image_ids, label_sets, strict=True))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def remap_table(channel_of: Mapping[int, int], visible: AbstractSet[int], hidden: int = 0) -> UInt8[Tensor, "256"]:
    """Return a table from the values in a mask to channels: ``table[mask.long()]`` is what a task sees.

    Args:
        channel_of: From classes to channels.
        visible: The classes that are labelled.
        hidden: What the others become: 0, background, or 255, ignored.

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
    """One task.

    Attributes:
        classes: As they stand in the masks, in the order of their channels.
        channels: Of these classes.
        train: Places of its training images.
    """

    classes: tuple[int, ...]
    channels: range
    train: Int[Tensor, " n"]


@dataclass(frozen=True)
class SegmentationStream:
    """A stream of tasks on images with masks. Channel 0 is the background, the others follow in the order of arrival.

    Attributes:
        kind: See :func:`assign_images`.
        train: All training images.
        test: All test images.
        tasks: The stream.
        unseen: What test pixels of classes to come are: ``"ignore"`` or ``"background"``.
        reappearance: How often images come back.
        partition: What the tasks, or their sizes, were made by; None in a scenario without one.
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
        """Classes of each task."""
        return tuple(len(task.classes) for task in self.tasks)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names, in the order of arrival."""
        return tuple(self.train.classes[label - 1] for task in self.tasks for label in task.classes)

    @property
    def channel_of(self) -> dict[int, int]:
        """From the numbers in the masks to channels."""
        return {
            label: channel for task in self.tasks for label, channel in zip(task.classes, task.channels, strict=True)
        }

    def seen(self, number: int) -> list[int]:
        """Return the classes of the tasks up to ``number``, as they stand in the masks."""
        return [label for task in self.tasks[: number + 1] for label in task.classes]

    def train_table(self, number: int) -> UInt8[Tensor, "256"]:
        """Return what training masks of a task become: its own classes only, all so far in a sequential stream."""
        visible = self.seen(number) if self.kind == "sequential" else list(self.tasks[number].classes)
        return remap_table(self.channel_of, set(visible))

    def test_table(self, number: int) -> UInt8[Tensor, "256"]:
        """Return what test masks become after a task."""
        return remap_table(self.channel_of, set(self.seen(number)), IGNORE if self.unseen == "ignore" else 0)


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
        first: Classes of the first task.
        per_task: Of each later one; a number that divides the rest, or one for each task.
        kind: See :func:`assign_images`.
        class_order: The classes in the order of arrival; as they are listed unless this or the next is given.
        order_seed: Draws the order.
        seed: Of the partition.
        assign: See :func:`partition`.
        min_pixels: That a class must have in an image to be in it.
        match_sizes: Cap every task at the number of images that the partitioned scenario would have there.
        unseen: What test pixels of classes to come are.
        given: A partition to use instead of drawing one.

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
    parted: Partition | None = None
    if kind == "partitioned" or match_sizes:
        areas = train.areas if assign == "largest_area" else None
        parted = make_partition(names, sets, seed, assign, areas) if given is None else given
        of_image, task_of = parted.of_image, tasks_of(groups)
        parts = [
            [name for name in names if name in of_image and task_of[of_image[name]] == task]
            for task in range(len(groups))
        ]
        whole = parts if kind == "partitioned" else assign_images(names, sets, groups, kind)
        tasks = capped(whole, [len(part) for part in parts], seed)
    else:
        tasks = assign_images(names, sets, groups, kind)
    empty = next((number for number, part in enumerate(tasks) if not part), None)
    if empty is not None:
        told = ", ".join(train.classes[label - 1] for label in groups[empty])
        raise SettingsError(f"task {empty + 1} ({told}) has no images in the {kind} scenario")
    place = {name: number for number, name in enumerate(names)}
    for group, part in zip(groups, tasks, strict=True):
        there = frozenset().union(*(sets[place[name]] for name in part))
        hidden = next((label for label in group if label not in there), None)
        if hidden is not None:
            raise SettingsError(
                f"class '{train.classes[hidden - 1]}' is in no image of its own task in the {kind} scenario; another "
                "seed, order or way to assign images may change that"
            )
    found, channel = [], 1
    for group, part in zip(groups, tasks, strict=True):
        channels = range(channel, channel + len(group))
        found.append(SegmentationTask(tuple(group), channels, torch.tensor([place[name] for name in part])))
        channel = channels.stop
    report = reappearance_report(tasks, names, train.areas, groups)
    return SegmentationStream(kind, train, test, tuple(found), unseen, report, parted)


def _grouped(order: list[int], first: int, per_task: int | Sequence[int]) -> list[list[int]]:
    rest = len(order) - first
    if isinstance(per_task, int):
        if first < 1 or rest < 0 or per_task < 1 or rest % per_task:
            raise SettingsError(f"{len(order)} classes cannot be split into {first} and then {per_task} a task")
        sizes = [first, *[per_task] * (rest // per_task)]
    else:
        sizes = [first, *per_task]
        if min(sizes) < 1 or sum(sizes) != len(order):
            raise SettingsError(f"{len(order)} classes cannot be split into {', '.join(map(str, sizes))}")
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _check(image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> None:
    if len(image_ids) != len(label_sets):
        raise SettingsError(f"{len(image_ids)} images and {len(label_sets)} label sets do not match")
    if len(set(image_ids)) < len(image_ids):
        raise SettingsError("names of images must be unique")
