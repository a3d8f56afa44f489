"""What salience points at on real images: objects if pixels are in [0, 1], background if they are standardised."""

from pathlib import Path

import pytest
import timm
import torch

from myosotis.data.image_archives import read_idx
from myosotis.data.images import to_unit
from myosotis.engine.seeding import generator
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.patches import to_patches

FASHION = Path("/usr/share/datasets/fashion-mnist")

pytestmark = pytest.mark.skipif(not FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")


@pytest.fixture(scope="module")
def images():
    return to_unit(read_idx(FASHION, "test").images[:1000])


def share_on_object(images, settings, seed, *, mean=0.0, std=1.0):
    """Of the hidden tokens, with a network that has learnt nothing, at a ratio of one half."""
    torch.manual_seed(seed)
    sizes = {"img_size": 28, "patch_size": 4, "in_chans": 1, "embed_dim": 64, "depth": 1, "num_heads": 4}
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    masker = build_masker("salience", {"warmup": 0.0, **settings})
    model = MaskedAutoencoder(encoder, masker, decoder_dim=32, decoder_depth=1, decoder_heads=4)
    with torch.no_grad():
        hidden = model((images - mean) / std, ratio=0.5, generator=generator(seed)).mask.hidden
    on_object = to_patches(images, 4).std(dim=-1) > 0.02
    return on_object[hidden].float().mean().item(), on_object.float().mean().item()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_salience_points_at_the_object_of_images_in_the_unit_interval(images, seed):
    share, base = share_on_object(images, {"scale": "sqrt_dim"}, seed)
    assert base == pytest.approx(0.5996, abs=1e-3)
    assert share >= 0.7
    inverted, _ = share_on_object(images, {"scale": "sqrt_dim", "invert": True}, seed)
    assert inverted < 0.5
    random, _ = share_on_object(images, {"noise": 1e6}, seed)
    assert random == pytest.approx(base, abs=0.01)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_salience_points_at_the_background_of_standardised_images(images, seed):
    for scale in (1.0, "sqrt_dim"):
        share, base = share_on_object(images, {"scale": scale}, seed, mean=0.286, std=0.353)
        assert share < base
