"""The teacher of guided maskers."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.teacher import Teacher
from myosotis.pretraining.vision_transformer import class_attention


def test_a_teacher_follows_slowly_and_changes_nothing(autoencoder, images):
    model = autoencoder("attention", {"momentum": 0.9})
    teacher = Teacher(model)
    before = teacher(images())
    assert torch.allclose(before, class_attention(model.encoder, images()))
    old = model.decoder.embed.weight.detach().clone()
    with torch.no_grad():
        model.decoder.embed.weight.add_(1.0)
    teacher.follow(model)
    assert torch.allclose(teacher.model.decoder.embed.weight, old + 0.1, atol=1e-6)
    with pytest.raises(ValueError, match="'random' needs no teacher"):
        Teacher(autoencoder())


def test_the_teacher_of_predicted_losses_sees_whole_images(autoencoder, images):
    model = autoencoder("predicted_loss")
    said = Teacher(model)(images())
    encoded = torch.cat(model.encode(images()), dim=1)
    assert torch.allclose(said, model.loss_decoder(encoded, None).squeeze(-1))
    found = model(images(), ratio=0.5, generator=generator(0), guide=said)
    assert found.mask.guide.equal(said)
    assert set(found.terms) == {"reconstruction", "predicted_loss"}
