"""A tiny stream of images, and learners small enough for many tests."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental, data_incremental, domain_incremental
from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.batches import ViewBatches
from myosotis.continual.selfsupervised.learner import SslTask
from myosotis.continual.selfsupervised.measuring import ProbeSettings
from myosotis.continual.selfsupervised.methods import METHODS, build_learner
from myosotis.continual.selfsupervised.training import SslSettings, learn_representations
from myosotis.data.images import ImageSet
from myosotis.data.views import ViewSettings

VIEWS = ViewSettings(area=(0.5, 1.0), hue=0, saturation=0, grey=0)


PROBES = ProbeSettings(shares=(0.5,), drift_samples=24)


def images(count=96, seed=0, classes=4):
    """Grey images in which each class is bright at another corner."""
    stream = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 90, (count, 1, 8, 8), generator=stream)
    labels = torch.arange(count) % classes
    for place, label in enumerate(labels.tolist()):
        top, left = 4 * (label // 2), 4 * (label % 2)
        pixels[place, :, top : top + 4, left : left + 4] += 120
    names = tuple(f"{seed}-{place:03d}" for place in range(count))
    return ImageSet(pixels.byte(), labels, names, tuple("abcd")[:classes])


def stream(kind="class", **options):
    train, test = images(**options), images(48, 1)
    if kind == "data":
        return data_incremental(train, 3, test=test)
    if kind == "domain":
        inverted = [replace(one, images=255 - one.images) for one in (train, test)]
        return domain_incremental([train, inverted[0]], tests=[test, inverted[1]])
    return class_incremental(train, 2, 2, test=test)


def encoder(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )


SMALL = {
    "moco": {"dim": 8, "hidden": 16, "queue": 32},
    "simclr": {"dim": 8, "hidden": 16},
    "byol": {"dim": 8, "hidden": 16},
    "barlow": {"dim": 8, "hidden": 16},
    "vicreg": {"dim": 8, "hidden": 16},
}


def learner(method="finetune", base="moco", own=None, of_base=None, seed=0):
    own = dict(own or {})
    if "hidden" in vars(METHODS.settings(method)):
        own.setdefault("hidden", 16)
    if method == "ewc":
        own = {"group": 4, "groups": 4, **own}
    return build_learner(method, own, build_base(base, SMALL[base] | (of_base or {})), encoder(seed), 32, seed)


def train_settings(**options):
    return SslSettings(**{"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "views": VIEWS, **options})


def learn(method="finetune", base="moco", *, given=None, scenario=None, seed=0, checkpoints=None, own=None, **options):
    one = learner(method, base, own) if given is None else given
    memory = ExemplarMemory(total=12 if METHODS[method].reads_memory else 0, selection="reservoir", seed=seed)
    return learn_representations(
        one,
        stream() if scenario is None else scenario,
        memory,
        train_settings(**options),
        PROBES,
        seed=seed,
        checkpoints=checkpoints,
        shown=10,
    )


def weights(one):
    return torch.cat([value.flatten().double() for value in one.net.state_dict().values()])


def in_second_task(method, base, own=None, of_base=None):
    """A learner in its second task, and two batches of it."""
    one = learner(method, base, own, of_base)
    scenario = stream()
    places = scenario[1].train.indices
    some = ViewBatches(
        scenario.train.images, places, torch.arange(20), size=16, memory_size=16, views=VIEWS, seed=0, device="cpu"
    )

    def look():
        return ((batch.views, batch.samples) for batch in some(0))

    def plain(at):
        return scenario.train.images[at].float() / 255

    one.net.train()
    one.before_task(SslTask(0, look, plain))
    one.after_task(SslTask(0, look, plain), torch.arange(20))
    with torch.no_grad():
        for value in one.net.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    one.before_task(SslTask(1, look, plain))
    return one, list(some(1))


def weights_of(module):
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


@pytest.fixture(name="images", scope="session")
def _images():
    return images


@pytest.fixture(name="stream", scope="session")
def _stream():
    return stream


@pytest.fixture(name="encoder", scope="session")
def _encoder():
    return encoder


@pytest.fixture(name="learner", scope="session")
def _learner():
    return learner


@pytest.fixture(name="train_settings", scope="session")
def _train_settings():
    return train_settings


@pytest.fixture(name="learn", scope="session")
def _learn():
    return learn


@pytest.fixture(name="weights", scope="session")
def _weights():
    return weights


@pytest.fixture(name="in_second_task", scope="session")
def _in_second_task():
    return in_second_task


@pytest.fixture(name="weights_of", scope="session")
def _weights_of():
    return weights_of
