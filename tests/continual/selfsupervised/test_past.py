"""Tests of :mod:`myosotis.continual.selfsupervised.past`."""

import torch
from torch import nn

from myosotis.continual.selfsupervised.past import PastModel


def test_a_past_model_stays_as_it_was():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    projector = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    images = torch.rand(6, 1, 8, 8)
    encoder(images)
    parent = nn.Module()
    parent.past = PastModel(encoder, projector)
    before = {name: value.clone() for name, value in parent.past.state_dict().items()}
    answer = parent.past(images)[1]
    for _ in range(5):
        parent.train()
        parent.past(images + 1)
        encoder.train()(images + 1)
    assert not parent.past.training
    assert not any(module.training for module in parent.past.modules())
    assert all(torch.equal(value, before[name]) for name, value in parent.past.state_dict().items())
    assert torch.equal(parent.past(images)[1], answer)
    assert not any(value.requires_grad for value in parent.past.parameters())
    assert "past.encoder.1.running_mean" in parent.state_dict()
    assert encoder.training
