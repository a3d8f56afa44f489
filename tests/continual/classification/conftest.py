"""A tiny stream of classes, and learners small enough for many tests."""

import pytest
import torch
from torch import nn

from myosotis.continual.classification.batches import Augmentation, ReplayBatches
from myosotis.continual.classification.checks import check_fit
from myosotis.continual.classification.methods import METHODS, build_learner
from myosotis.continual.classification.network import Outputs
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental
from myosotis.data.images import ImageSet
from myosotis.models.backbone import build_backbone
from myosotis.models.image_classifier import ClassifierSpec

SPEC = ClassifierSpec(
    "small-resnet", 0, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}, tuple("abcdef")
)


def images(per_class=20, classes=6, seed=0):
    """Every class has a pattern of its own, under noise."""
    stream = torch.Generator().manual_seed(7)
    patterns = torch.rand(classes, 1, 8, 8, generator=stream)
    noise = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(per_class)
    pixels = patterns[labels] + 0.15 * torch.randn(len(labels), 1, 8, 8, generator=noise)
    return ImageSet(
        (pixels.clamp(0, 1) * 255).byte(),
        labels,
        tuple(f"{seed}-{place:04d}" for place in range(len(labels))),
        tuple("abcdef"[:classes]),
    )


def stream(per_class=20, classes=6, **options):
    return class_incremental(
        images(per_class, classes), 2, 2, test=images(8, classes, seed=1), **{"order_seed": 0, **options}
    )


def learner(name, settings=None, seed=0, change=None):
    def make(number):
        body = build_backbone(SPEC, seed=number, signed=METHODS[name].signed_features)
        if change is not None:
            change(body)
        return body

    return build_learner(name, settings, make, seed)


FAST = {
    "eeil": {"balanced_epochs": 2},
    "podnet": {"balanced_epochs": 2, "scale": 5.0, "proxies": 3},
    "lucir": {"scale": 5.0},
    "ewc": {"samples": 10},
}


def train_settings(name, **options):
    own = {"memory_batch_size": 4} if name in ("dark_er",) else {}
    return TrainSettings(**{"epochs": 2, "learning_rate": 0.05, "batch_size": 10, **own, **options})


def learn(name, settings=None, *, memory=12, seed=0, scenario=None, change=None, checkpoints=None, **options):
    return learn_classes(
        learner(name, FAST.get(name) if settings is None else settings, seed, change),
        stream() if scenario is None else scenario,
        memory if isinstance(memory, ExemplarMemory) else ExemplarMemory(total=memory, seed=seed),
        train_settings(name, **options),
        seed=seed,
        checkpoints=checkpoints,
    )


def fit(name, memory, scenario=None, **options):
    check_fit(learner(name), stream() if scenario is None else scenario, memory, train_settings(name, **options))


def places(numbers):
    return torch.tensor(list(numbers), dtype=torch.long)


def batches_of(current, memory, **options):
    everything = stream().train
    settings = {"size": 10, "memory_size": None, "augmentation": Augmentation(), "seed": 0, **options}
    return ReplayBatches(everything.images, everything.labels, places(current), places(memory), **settings)


class Line(nn.Module):
    """A logit for one class against none, linear in one weight: its per-sample gradient is known."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0]))

    def forward(self, images):
        z = images.flatten(1).sum(1, keepdim=True) * self.weight
        return Outputs(torch.cat([z, torch.zeros_like(z)], 1), z)


@pytest.fixture(name="images", scope="session")
def _images():
    return images


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


@pytest.fixture(name="fit", scope="session")
def _fit():
    return fit


@pytest.fixture(name="batches_of", scope="session")
def _batches_of():
    return batches_of


@pytest.fixture(name="Line", scope="session")
def _line():
    return Line


@pytest.fixture(name="spec", scope="session")
def _spec():
    return SPEC
