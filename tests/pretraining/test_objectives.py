"""Networks that the objectives build."""

from dataclasses import dataclass

import pytest
import timm
import torch

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.normalization import Normalize, NormalizedClassifier
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.masked_model import Objective
from myosotis.pretraining.maskers import MASKERS, build_masker
from myosotis.pretraining.objectives import OBJECTIVES, build_model

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
OPTIONS = {**SIZES, "global_pool": "avg", "fc_norm": False}


@pytest.mark.parametrize("masker", MASKERS)
def test_encoders_of_one_seed_are_alike_whatever_hides(network, masker):
    plain, other = network().state_dict(), network(masker).state_dict()
    for name, value in plain.items():
        assert value.equal(other[name]), name
    assert not plain["encoder.patch_embed.proj.weight"].equal(network(seed=1).encoder.patch_embed.proj.weight)


def test_a_network_that_was_trained_elsewhere_keeps_its_positions():
    encoder = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, **OPTIONS)
    with torch.no_grad():
        encoder.pos_embed.fill_(0.3)
    sizes = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    model = MaskedAutoencoder(encoder, build_masker("random"), fresh=False, **sizes)
    assert model.encoder.pos_embed.eq(0.3).all()
    assert model.encoder.pos_embed.requires_grad
    assert isinstance(NormalizedClassifier(encoder, [0.0], [1.0]).normalize, Normalize)


@dataclass(frozen=True)
class Shallow(Objective):
    """An objective of another distribution."""

    card = MethodCard("shallow", "Shallow MAE", "-", "images", "nothing", "Tests.")
    depth: int = 1

    def build(self, encoder, masker, *, shape, normalize, fresh, recompute):
        sizes = {"decoder_dim": 8, "decoder_depth": self.depth, "decoder_heads": 2}
        return MaskedAutoencoder(encoder, masker, normalize=normalize, fresh=fresh, recompute=recompute, **sizes)


@pytest.fixture
def registered():
    OBJECTIVES.register(Shallow)
    yield
    OBJECTIVES._kinds.pop("shallow")


def test_an_objective_of_another_distribution(registered):
    encoder = build_classifier(ClassifierSpec("vit_tiny_patch16_224", 0, 1, (0.5,), (0.25,), OPTIONS))
    arguments = (encoder.classifier, build_masker("random"), (1, 16, 16))
    model = build_model("shallow", {"depth": 2}, *arguments, seed=0, normalize=encoder.normalize)
    assert len(model.decoder.blocks) == 2
    images = torch.rand(2, 1, 16, 16)
    assert model.encode(images)[1].mean(dim=1).equal(encoder(images))
    with pytest.raises(SettingsError, match="objective 'shallow' has no setting 'dept'; did you mean 'depth'"):
        build_model("shallow", {"dept": 2}, *arguments, seed=0)
