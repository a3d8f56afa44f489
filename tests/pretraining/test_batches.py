"""Batches of images."""

import pytest
import torch

from myosotis.pretraining.batches import ImageBatches


def test_batches_are_whole_and_depend_on_the_epoch():
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 4, 4).contiguous()
    batches = ImageBatches(images, size=6, area=(1.0, 1.0), flip=0.0, seed=0)
    assert batches.steps == 3
    epochs = [
        [(batch.images[:, 0, 0, 0] * 255).round().int().tolist() for batch in batches(epoch)] for epoch in (0, 0, 1)
    ]
    assert epochs[0] == epochs[1] != epochs[2]
    seen = [value for batch in epochs[0] for value in batch]
    assert len(set(seen)) == 18
    seeds = {batch.seed for epoch in (0, 1) for batch in batches(epoch)}
    assert len(seeds) == 6
    with pytest.raises(ValueError, match="fewer than a batch of 21"):
        ImageBatches(images, size=21, area=(1.0, 1.0), flip=0.0, seed=0)
