"""Patches, their normalisation and their order."""

import pytest
import torch

from myosotis.pretraining.patches import from_patches, normalized_patches, to_patches


def test_patches_come_back_and_are_in_order(images):
    x = images()
    assert from_patches(to_patches(x, 4), 4, (5, 5)).equal(x)
    assert to_patches(x, 4)[1, 6].view(4, 4, 3).permute(2, 0, 1).equal(x[1, :, 4:8, 4:8])
    with pytest.raises(ValueError, match="image size 20x20 is not a multiple of the patch size 8x8"):
        to_patches(x, 8)


def test_targets_are_normalised_patch_by_patch(images):
    patches = to_patches(images(), 4)
    found = normalized_patches(patches)
    assert found.mean(dim=-1).abs().max() < 1e-5
    assert found.var(dim=-1).sub(1).abs().max() < 1e-3
    assert torch.allclose(normalized_patches(3 * patches - 2), found, atol=1e-4)
    assert normalized_patches(torch.full((1, 2, 12), 0.7)).abs().max() < 1e-3
