"""Tests of :mod:`myosotis.continual.selfsupervised.momentum`."""

import pytest
import torch
from torch import nn

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.continual.selfsupervised.momentum import MomentumCopy, momentum_at
from myosotis.continual.selfsupervised.saved import SslSpec, make_ssl_learner
from myosotis.models.image_classifier import ClassifierSpec


def test_a_momentum_copy_follows():
    encoder_, projector = nn.Linear(2, 2), nn.Linear(2, 2)
    copy_ = MomentumCopy(encoder_, projector)
    first = copy_.encoder.weight.clone()
    with torch.no_grad():
        encoder_.weight.add_(1.0)
    copy_.follow(encoder_, projector, 0.9)
    torch.testing.assert_close(copy_.encoder.weight, first + 0.1)
    assert momentum_at(0, 0.99, 0.999) == pytest.approx(0.99)
    assert momentum_at(1, 0.99, 0.999) == pytest.approx(0.999)


def test_the_copy_lies_in_memory_as_the_network_does():
    """A copy in another layout took the slow path of every update."""
    encoder = ClassifierSpec("small-resnet", 0, 3, (0.5,) * 3, (0.25,) * 3, {"widths": [16, 32], "blocks": [1, 1]})
    learner = make_ssl_learner(SslSpec("finetune", {}, "moco", {"hidden": 8, "dim": 4}, encoder, (8, 8), 0))
    learner.to(torch.device("cpu"))
    own, copied = (list(module.encoder.parameters()) for module in (learner.net, learner.base.target))
    assert any(weight.is_contiguous(memory_format=torch.channels_last) for weight in own if weight.ndim == 4)
    assert [weight.stride() for weight in own] == [weight.stride() for weight in copied]


def test_an_encoder_of_ones_own_may_take_views_of_its_maps():
    """Channels last, ``view`` of a map was refused."""

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution = nn.Conv2d(3, 16, 3, 2)

        def forward(self, images):
            return self.convolution(images).view(len(images), -1)

    learner = build_learner("finetune", {}, build_base("moco", {"hidden": 8, "dim": 4}), Encoder(), 144, 0)
    learner.to(torch.device("cpu"))
    assert learner.features(torch.rand(2, 3, 8, 8)).shape == (2, 144)
