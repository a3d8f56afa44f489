"""Tests of :mod:`myosotis.continual.selfsupervised.batches`."""

import pytest
import torch

from myosotis.continual.selfsupervised.batches import ViewBatches
from myosotis.data.views import ViewSettings

VIEWS = ViewSettings(area=(0.5, 1.0), hue=0, saturation=0, grey=0)


def test_batches_depend_on_seed_and_epoch_alone(images):
    def made(epoch, seed=0):
        some = ViewBatches(
            images().images, torch.arange(40), torch.arange(50, 60), size=16, memory_size=8, views=VIEWS, seed=seed
        )
        return list(some(epoch))

    one, again, later, other = made(0), made(0), made(1), made(0, 1)
    assert len(one) == 2
    for batch, same in zip(one, again, strict=True):
        assert torch.equal(batch.views[0], same.views[0])
        assert torch.equal(batch.samples, same.samples)
        assert len(batch.memory_samples) == 8
        assert set(batch.memory_samples.tolist()) <= set(range(50, 60))
    assert not torch.equal(one[0].samples, later[0].samples)
    assert not torch.equal(one[0].samples, other[0].samples)
    everyone = torch.cat([batch.samples for batch in one])
    assert len(everyone.unique()) == 32
    with pytest.raises(ValueError, match="a task of 40 images is smaller than a batch of 64"):
        ViewBatches(images().images, torch.arange(40), torch.arange(0), size=64, memory_size=0, views=VIEWS, seed=0)


def test_small_memories_are_not_repeated_unless_mixed(images):
    common = {"size": 16, "memory_size": 16, "views": VIEWS, "seed": 0}
    for again, count in ((False, 5), (True, 16)):
        some = ViewBatches(images().images, torch.arange(40), torch.arange(50, 55), again=again, **common)
        batch = next(some(0))
        assert len(batch.memory_samples) == count
