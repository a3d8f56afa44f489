"""A tiny stream of images with masks, and learners small enough for many tests."""

import random

import pytest
import torch

from myosotis.continual.segmentation.batches import DenseAugmentation, SegmentationBatches
from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationState
from myosotis.continual.segmentation.losses import (
    group_cross_entropy,
)
from myosotis.continual.segmentation.memory import Candidate, SegmentationMemory
from myosotis.continual.segmentation.methods import build_learner
from myosotis.continual.segmentation.scenario import class_incremental_segmentation, remap_table
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.continual.segmentation.training import learn_segments
from myosotis.data.masks import resident
from myosotis.models.segmenter import SegmenterSpec, build_segmenter

SPEC = SegmenterSpec("own", "small-segmenter", 3, (0.3,) * 3, (0.3,) * 3, {"widths": [8, 8, 8], "dilations": [1]})


NAMES = ("ash", "birch", "cedar", "elm", "fir")


COLOURS = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]) * 180


OWN = {"plop": {"features": 0.001}, "mib_augm": {"scope": "stored"}}


def images(count=40, seed=0, prefix="i"):
    """Blocks of four by four, each class with a colour of its own, one to three of them on a dark ground."""
    source, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    pictures, masks = [], []
    for _ in range(count):
        mask = torch.zeros(12, 12, dtype=torch.uint8)
        slots = source.sample(range(9), source.randint(1, 3))
        for slot in slots:
            top, left = 4 * (slot // 3), 4 * (slot % 3)
            mask[top : top + 4, left : left + 4] = source.randint(1, len(NAMES))
        colour = COLOURS[mask.long()].movedim(-1, 0) + 60 * torch.rand(3, 12, 12, generator=noise)
        pictures.append(colour.byte())
        masks.append(mask)
    return resident(pictures, masks, [f"{prefix}{place:03d}" for place in range(count)], NAMES)


def stream(kind="partitioned", count=40, **options):
    return class_incremental_segmentation(images(count), images(12, 1, "t"), 2, (2, 1), kind=kind, **options)


def learner(name, settings=None, seed=0, spec=SPEC):
    given = OWN.get(name) if settings is None else settings
    return build_learner(name, given, lambda number: build_segmenter(spec, seed=number), seed)


def train_settings(**options):
    plain = {"iterations": 12, "batch_size": 8, "optimizer": "adamw", "learning_rate": 0.01}
    return SegmentationSettings(**{**plain, "later_rate": None, **options})


def learn(name, own=None, *, given=None, scenario=None, seed=0, memory=8, checkpoints=None, on_task=None, **options):
    one = learner(name, own, seed) if given is None else given
    return learn_segments(
        one,
        stream() if scenario is None else scenario,
        SegmentationMemory(memory if one.reads_memory else 0, seed),
        train_settings(**options),
        seed=seed,
        checkpoints=checkpoints,
        checkpoint_every=5,
        panels=[0, 1],
        on_task=on_task,
    )


def grown(name, own=None):
    """A learner in its second task, and its state."""
    one = learner(name, own)
    one.before_task(SegmentationState((2,), lambda: iter(()), 0))
    state = SegmentationState((2, 1), lambda: iter(()), 0)
    one.before_task(state)
    return one, state


def a_batch(current=2, remembered=2):
    stream_ = torch.Generator().manual_seed(4)
    count = current + remembered
    target = torch.randint(4, (count, 12, 12), generator=stream_)
    target[:current][target[:current] < 3] = 0  # the third class is new
    target[current:][target[current:] == 3] = 0
    target[:, 0, 0] = 255
    labelled = torch.zeros(count, 4, dtype=torch.bool)
    labelled[:current, 3] = True
    labelled[current:, 1:3] = True
    return SegmentationBatch(torch.rand(count, 3, 12, 12, generator=stream_), target, labelled, current)


# Background, two old classes, a new one; a shift of all logits changes nothing.
LOGITS = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log() + 1.7


def pixels(values, logits=LOGITS):
    """One image, one row of pixels with the same logits."""
    return logits.view(1, -1, 1, 1).expand(1, -1, 1, len(values)), torch.tensor(values).view(1, 1, -1)


def labelled(row):
    return torch.tensor([[bool(one) for one in row]])


def loss_and_gradient(value, row):
    logits, target = pixels([value])
    logits = logits.clone().requires_grad_()
    loss = group_cross_entropy(logits, target, labelled(row))
    loss.backward()
    return loss.item(), logits.grad.flatten().tolist()


PLAIN = DenseAugmentation()


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


def current(count=10, size=4, start=0, stop=5, augmentation=PLAIN):
    images = make_images(drawn_sets(count))
    table = remap_table({label: label for label in range(1, 5)}, {1, 2})
    made = SegmentationBatches(
        images, torch.arange(count), table, [1, 2], 3, (), size, augmentation, 3, torch.device("cpu")
    )
    return made, list(made(start, stop))


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


def make_stream(kind="partitioned", count=60, **options):
    images, test = make_images(drawn_sets(count)), make_images(drawn_sets(12, seed=1), prefix="t")
    return class_incremental_segmentation(images, test, 2, 1, kind=kind, **options)


@pytest.fixture(name="stream", scope="session")
def _stream():
    return stream


@pytest.fixture(name="learner", scope="session")
def _learner():
    return learner


@pytest.fixture(name="train_settings", scope="session")
def _train_settings():
    return train_settings


@pytest.fixture(name="learn", scope="session")
def _learn():
    return learn


@pytest.fixture(name="grown", scope="session")
def _grown():
    return grown


@pytest.fixture(name="a_batch", scope="session")
def _a_batch():
    return a_batch


@pytest.fixture(name="pixels", scope="session")
def _pixels():
    return pixels


@pytest.fixture(name="labelled", scope="session")
def _labelled():
    return labelled


@pytest.fixture(name="loss_and_gradient", scope="session")
def _loss_and_gradient():
    return loss_and_gradient


@pytest.fixture(name="two_tasks", scope="session")
def _two_tasks():
    return two_tasks


@pytest.fixture(name="current", scope="session")
def _current():
    return current


@pytest.fixture(name="make_images", scope="session")
def _make_images():
    return make_images


@pytest.fixture(name="drawn_sets", scope="session")
def _drawn_sets():
    return drawn_sets


@pytest.fixture(name="make_stream", scope="session")
def _make_stream():
    return make_stream
