import pytest
import torch
from torch import nn
from torch.nn import functional

from myosotis.unlearning.classifier.methods import Request, Samples, build_method
from myosotis.unlearning.classifier.methods.method import evaluation_copy

CLASSES = 4


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES)
    ).eval()


@pytest.fixture(scope="session", name="network")
def _network_fixture():
    return network


def samples(count, seed):
    stream = torch.Generator().manual_seed(seed)
    return Samples(torch.rand(count, 1, 4, 4, generator=stream), torch.randint(CLASSES, (count,), generator=stream))


@pytest.fixture(scope="session", name="samples")
def _samples_fixture():
    return samples


def make_request(goal="misclassify", forget=3, retain=10, batch=4, epochs=4):
    instances = samples(forget, 1)
    return Request(
        instances,
        goal,
        (instances.labels + 1) % CLASSES if goal == "relabel" else None,
        CLASSES,
        samples(retain, 2),
        forget_batch=2,
        batch=batch,
        epochs=epochs,
        seed=0,
    )


@pytest.fixture(scope="session", name="make_request")
def _make_request_fixture():
    return make_request


def begun(name, request, model, **settings):
    return build_method(name, settings).begin(model, evaluation_copy(model), request)


@pytest.fixture(scope="session", name="begun")
def _begun_fixture():
    return begun


def ce(model, images, labels):
    return functional.cross_entropy(model(images), labels)


@pytest.fixture(scope="session", name="ce")
def _ce_fixture():
    return ce
