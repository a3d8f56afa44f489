"""Streams of tasks, which samples each holds. Membership depends on sample names and the seed, not on file order."""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from myosotis.data.images import ImageSet
from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed, generator


@dataclass(frozen=True)
class View:
    """A subset of a data set, without a copy.

    Attributes:
        dataset: Whole data set.
        indices: Indices of the samples, in ascending order.
    """

    dataset: ImageSet
    indices: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Labels of the samples."""
        return self.dataset.labels[self.indices]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(self.dataset.names[index] for index in self.indices.tolist())

    def samples(self) -> ImageSet:
        """Return a copy of the samples."""
        return self.dataset.subset(self.indices.tolist())


@dataclass(frozen=True)
class Task:
    """One task of a stream.

    Attributes:
        number: Index in the stream.
        classes: Labels; in a class-incremental stream these follow those of the previous task.
        train: Training samples.
        validation: Samples held out of the training set; may be empty.
        test: Test samples; empty without a test set.
    """

    number: int
    classes: range
    train: View
    validation: View
    test: View


@dataclass(frozen=True)
class Scenario(Sequence[Task]):
    """A stream of tasks. Classes are numbered in their order of arrival, so that a head grows at its end.

    Attributes:
        kind: ``"class"``, ``"domain"`` or ``"data"``.
        train: All training samples.
        test: All test samples, or None.
        tasks: Tasks of the stream.
    """

    kind: str
    train: ImageSet
    test: ImageSet | None
    tasks: tuple[Task, ...]

    def __len__(self) -> int:
        return len(self.tasks)

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        """Return a task, or several."""
        return self.tasks[number]

    def __iter__(self) -> Iterator[Task]:
        return iter(self.tasks)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of arrival."""
        return self.train.classes


def class_incremental(
    dataset: ImageSet,
    first: int,
    per_task: int | Sequence[int],
    *,
    test: ImageSet | None = None,
    order_seed: int | None = None,
    class_order: Sequence[str] | Sequence[int] | None = None,
    validation: float = 0.0,
    seed: int = 0,
    learnt: int = 0,
) -> Scenario:
    """Split a data set into tasks with disjoint classes.

    Args:
        dataset: Training samples.
        first: Number of classes of the first task.
        per_task: Number of classes of every later task, or a number for each.
        test: Test samples, with the same classes.
        order_seed: Seed of the order of classes; without it they come as listed.
        class_order: Order of classes by name or by number; every class once.
        validation: Share of each class that is held out of the training set.
        seed: Seed of the samples held out.
        learnt: Number of classes, the first of the order, that were learnt before and may have no sample.

    Raises:
        SettingsError: The sizes do not add up, a class is missing from the order or repeated, a label is no class, the
            test set has other classes, or a class has no sample.

    Example:
        >>> images = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
        >>> dataset = ImageSet(images, torch.tensor([0, 1, 2, 1]), ("a", "b", "c", "d"), ("cat", "dog", "owl"))
        >>> stream = class_incremental(dataset, 1, 2, class_order=["owl", "cat", "dog"])
        >>> [(list(task.classes), task.train.names) for task in stream]
        [([0], ('c',)), ([1, 2], ('a', 'b', 'd'))]
    """
    order = _class_order(dataset.classes, order_seed, class_order)
    sizes = task_sizes(len(order), first, per_task)
    train = _in_order(dataset, order)
    if test is not None:
        if test.classes != dataset.classes:
            raise SettingsError(f"the test set has the classes {test.classes}, the training set {dataset.classes}")
        test = _in_order(test, order)
    counts = torch.bincount(train.labels, minlength=len(order))
    if bool((counts[learnt:] == 0).any()):
        raise SettingsError(f"class {train.classes[learnt + int(counts[learnt:].argmin())]} has no training sample")
    held = _held_out(train, validation, seed)
    tasks, begin = [], 0
    for number, size in enumerate(sizes):
        classes = range(begin, begin + size)
        inside = (train.labels >= begin) & (train.labels < begin + size)
        tasks.append(_task(number, classes, train, inside, held, test))
        begin += size
    return Scenario("class", train, test, tuple(tasks))


def domain_incremental(
    datasets: Sequence[ImageSet],
    *,
    tests: Sequence[ImageSet] | None = None,
    validation: float = 0.0,
    seed: int = 0,
) -> Scenario:
    """Make a task of each data set: the same classes in another domain.

    Args:
        datasets: Training samples of each domain, with equal classes and image sizes.
        tests: Test samples of each domain.
        validation: Share of each class that is held out of the training set.
        seed: Seed of the samples held out.

    Raises:
        SettingsError: Classes or image sizes differ, a label is no class, or the number of test sets does.
    """
    if not datasets or any(images.classes != datasets[0].classes for images in [*datasets, *(tests or ())]):
        raise SettingsError("every domain needs the same classes in the same order")
    if any(images.images.shape[1:] != datasets[0].images.shape[1:] for images in [*datasets, *(tests or ())]):
        raise SettingsError("the images of all domains must be of one size")
    for images in [*datasets, *(tests or ())]:
        _check_labels(images)
    if tests is not None and len(tests) != len(datasets):
        raise SettingsError(f"{len(datasets)} domains, but {len(tests)} test sets")
    train, owner = _joined(datasets)
    test, test_owner = (None, None) if tests is None else _joined(tests)
    held = _held_out(train, validation, seed)
    tasks = [
        _task(
            number,
            range(len(train.classes)),
            train,
            owner == number,
            held,
            test,
            None if test_owner is None else test_owner == number,
        )
        for number in range(len(datasets))
    ]
    return Scenario("domain", train, test, tuple(tasks))


def data_incremental(
    dataset: ImageSet,
    tasks: int,
    *,
    test: ImageSet | None = None,
    validation: float = 0.0,
    seed: int = 0,
) -> Scenario:
    """Distribute the samples of every class over tasks: each task has all classes and samples of its own.

    Args:
        dataset: Training samples.
        tasks: Number of tasks.
        test: Test samples; every task has all of them.
        validation: Share of each class that is held out of the training set.
        seed: Seed of the distribution, and of the samples held out.

    Raises:
        SettingsError: A class has fewer samples than there are tasks, or a label is no class.
    """
    if tasks < 1:
        raise SettingsError(f"tasks must be at least 1, got {tasks}")
    _check_labels(dataset)
    owner = torch.empty(len(dataset), dtype=torch.long)
    for label, indices in enumerate(_by_class(dataset, seed, "deal")):
        if len(indices) < tasks:
            raise SettingsError(
                f"class {dataset.classes[label]} has {len(indices)} samples, fewer than the {tasks} tasks"
            )
        owner[indices] = torch.arange(len(indices)) % tasks
    held = _held_out(dataset, validation, seed)
    classes = range(len(dataset.classes))
    stream = [_task(number, classes, dataset, owner == number, held, test) for number in range(tasks)]
    return Scenario("data", dataset, test, tuple(stream))


def task_sizes(classes: int, first: int, per_task: int | Sequence[int]) -> list[int]:
    """Return the number of classes of each task.

    Raises:
        SettingsError: They do not add up to ``classes``.

    Example:
        >>> task_sizes(10, 4, 2)
        [4, 2, 2, 2]
    """
    if isinstance(per_task, int):
        rest = classes - first
        if first < 1 or per_task < 1 or rest < 0 or rest % per_task:
            raise SettingsError(
                f"the number of classes is {classes}, expected first={first} plus a multiple of per_task={per_task}"
            )
        return [first, *[per_task] * (rest // per_task)]
    sizes = [first, *per_task]
    if min(sizes) < 1 or sum(sizes) != classes:
        raise SettingsError(f"the tasks have {' + '.join(map(str, sizes))} = {sum(sizes)} classes, the data {classes}")
    return sizes


def drawn_order(classes: Sequence[str], seed: int) -> list[str]:
    """Return names of classes in a random order that depends on the names and the seed, not on their numbers."""
    named = sorted(classes)
    return [named[position] for position in torch.randperm(len(named), generator=generator(seed, "class order"))]


def _class_order(
    classes: Sequence[str], order_seed: int | None, listed: Sequence[str] | Sequence[int] | None
) -> list[int]:
    if listed is None:
        if order_seed is None:
            return list(range(len(classes)))
        numbers = {name: label for label, name in enumerate(classes)}
        return [numbers[name] for name in drawn_order(classes, order_seed)]
    if order_seed is not None:
        raise SettingsError("give either order_seed or class_order")
    numbers = {name: label for label, name in enumerate(classes)}
    order = []
    for entry in listed:
        label = numbers.get(entry, -1) if isinstance(entry, str) else operator.index(entry)
        if not 0 <= label < len(classes):
            raise SettingsError(f"class_order: unknown class {entry!r}")
        if label in order:
            raise SettingsError(f"class_order: {classes[label]} appears twice")
        order.append(label)
    missing = [name for label, name in enumerate(classes) if label not in order]
    if missing:
        raise SettingsError(f"class_order: {missing[0]} is missing")
    return order


def _in_order(images: ImageSet, order: Sequence[int]) -> ImageSet:
    """The images with classes renumbered in the order of arrival."""
    _check_labels(images)
    arrival = torch.empty(len(order), dtype=torch.long)
    arrival[torch.tensor(list(order))] = torch.arange(len(order))
    return replace(images, labels=arrival[images.labels], classes=tuple(images.classes[label] for label in order))


def _check_labels(images: ImageSet) -> None:
    outside = ((images.labels < 0) | (images.labels >= len(images.classes))).nonzero().flatten()
    if len(outside):
        index = int(outside[0])
        raise SettingsError(
            f"{images.names[index]} has the label {int(images.labels[index])}, but there are {len(images.classes)} "
            "classes"
        )


def _by_class(images: ImageSet, seed: int, purpose: str) -> list[Tensor]:
    """The indices of the samples of every class, in an order that depends on names alone."""
    order = torch.tensor(images.shuffled(seed, purpose), dtype=torch.long)
    return [order[images.labels[order] == label] for label in range(len(images.classes))]


def _held_out(images: ImageSet, share: float, seed: int) -> Tensor:
    if not 0 <= share < 1:
        raise SettingsError(f"validation must be in [0, 1), got {share}")
    held = torch.zeros(len(images), dtype=torch.bool)
    if share:
        for label, indices in enumerate(_by_class(images, derive_seed(seed, "validation"), "held out")):
            if len(indices) == 1:
                raise SettingsError(f"class {images.classes[label]} has a single sample, so none can be held out")
            # At least one sample of each class is held out, and at least one is not.
            held[indices[: min(max(1, round(share * len(indices))), len(indices) - 1)]] = True
    return held


def _task(
    number: int,
    classes: range,
    train: ImageSet,
    inside: Tensor,
    held: Tensor,
    test: ImageSet | None,
    test_inside: Tensor | None = None,
) -> Task:
    if test is None:
        tests = View(train, torch.empty(0, dtype=torch.long))
    else:
        if test_inside is None:
            test_inside = (test.labels >= classes.start) & (test.labels < classes.stop)
        tests = View(test, test_inside.nonzero().flatten())
    trained = View(train, (inside & ~held).nonzero().flatten())
    return Task(number, classes, trained, View(train, (inside & held).nonzero().flatten()), tests)


def _joined(parts: Sequence[ImageSet]) -> tuple[ImageSet, Tensor]:
    """All data sets in one, and the index of the data set of each sample."""
    joined = ImageSet(
        torch.cat([part.images for part in parts]),
        torch.cat([part.labels for part in parts]),
        tuple(f"{number}/{name}" for number, part in enumerate(parts) for name in part.names),
        parts[0].classes,
    )
    return joined, torch.cat([torch.full((len(part),), number) for number, part in enumerate(parts)])
