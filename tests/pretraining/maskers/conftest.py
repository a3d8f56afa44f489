"""Tokens, and guides of maskers."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker


def _tokens(batch=8, count=49, dim=6):
    return torch.randn(batch, count, dim, generator=generator(0, "tokens"))


def _guides(name, batch=8, count=49):
    guide = build_masker(name).guide
    return {} if guide is None else {guide: torch.rand(batch, count, generator=generator(1))}


@pytest.fixture(scope="session")
def tokens():
    return _tokens


@pytest.fixture(scope="session")
def guides():
    return _guides
