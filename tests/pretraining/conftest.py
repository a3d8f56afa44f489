"""Small networks and images."""

import numpy as np
import pytest
import timm
import torch

from myosotis.data.images import ImageSet
from myosotis.engine.seeding import generator
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.objectives import build_model

SIDE, PATCH = 20, 4


def _vit(**options):
    torch.manual_seed(0)
    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}
    return timm.create_model("vit_tiny_patch16_224", **{**sizes, **options})


def _autoencoder(masker="random", settings=None, **options):
    sizes = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
    encoder = _vit(**options.pop("encoder", {}))
    return MaskedAutoencoder(encoder, build_masker(masker, settings), **{**sizes, **options}).eval()


def _images(count=4):
    return torch.rand(count, 3, SIDE, SIDE, generator=generator(0, "images"))


@pytest.fixture(scope="session")
def vit():
    return _vit


@pytest.fixture(scope="session")
def autoencoder():
    return _autoencoder


@pytest.fixture(scope="session")
def images():
    return _images


SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
OPTIONS = {**SIZES, "global_pool": "avg", "fc_norm": False}
SPEC = ClassifierSpec("vit_tiny_patch16_224", 0, 1, (0.0,), (1.0,), OPTIONS)


def _network(masker="random", settings=None, seed=0):
    encoder = build_classifier(SPEC, seed=seed)
    sizes = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    hiding = build_masker(masker, settings)
    return build_model("mae", sizes, encoder.classifier, hiding, (1, 16, 16), seed=seed, normalize=encoder.normalize)


def _stripes(count=64, seed=0):
    """Images of two classes: stripes along or across."""
    draws = np.random.default_rng(seed)
    images = np.zeros((count, 1, 16, 16), dtype=np.uint8)
    labels = np.arange(count) % 2
    for place in range(count):
        wave = 120 + 100 * np.sin(np.arange(16) * draws.uniform(0.8, 1.2) + draws.uniform(0, 6))
        images[place, 0] = wave[None, :] if labels[place] else wave[:, None]
    names = tuple(f"{seed}-{place}" for place in range(count))
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), names, ("across", "along"))


@pytest.fixture(scope="session")
def network():
    return _network


@pytest.fixture(scope="session")
def stripes():
    return _stripes
