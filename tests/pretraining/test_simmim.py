"""SimMIM over transformers, windows and convolutions."""

import pytest
import timm
import torch

from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.pretraining.mask_statistics import MaskStatistics
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.maskers.masker import Masker, NoSettings
from myosotis.pretraining.salience import received_affinity, unit_interval
from myosotis.pretraining.simmim import SimMIM
from myosotis.pretraining.teacher import Teacher
from myosotis.pretraining.token_mask import mask_from_hidden, mask_from_scores
from myosotis.pretraining.vision_transformer import class_attention, embedded

MODELS = {
    "vit_tiny_patch16_224": {"img_size": 32, "patch_size": 4, "embed_dim": 24, "depth": 1, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {
        "img_size": 32,
        "embed_dim": 12,
        "depths": (1, 1),
        "num_heads": (1, 2),
        "window_size": 4,
    },
    "resnet18": {},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 8, 16, 16)},
}


def images(count=3):
    return torch.rand(count, 3, 32, 32, generator=generator(0))


def simmim(name="vit_tiny_patch16_224", masker="random", settings=None, unit=8, **options):
    torch.manual_seed(0)
    encoder = timm.create_model(name, num_classes=0, **{**MODELS[name], **options})
    return SimMIM(encoder, build_masker(masker, settings), shape=(3, 32, 32), unit=unit).eval()


@pytest.mark.parametrize("name", MODELS)
def test_any_model_is_masked_and_learns(name):
    model = simmim(name, unit=8)
    x = images()
    found = model(x, ratio=0.6, generator=generator(1))
    assert found.mask.hidden.sum(dim=1).eq(10).all()
    assert found.prediction.shape == x.shape
    hidden = found.mask.hidden.view(3, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    by_hand = (found.prediction - x).abs()[hidden.expand_as(x)].mean()
    assert found.terms["reconstruction"].item() == pytest.approx(by_hand.item(), rel=1e-4)
    found.terms["reconstruction"].backward()
    assert model.token.grad.abs().sum() > 0
    assert not model.encoder._forward_hooks
    if hasattr(model.encoder, "patch_embed"):
        assert not model.encoder.patch_embed._forward_hooks


@pytest.mark.parametrize("name", MODELS)
def test_hidden_pixels_do_not_leak(name):
    model, x = simmim(name), images()
    mask = mask_from_scores(torch.rand(3, 16, generator=generator(2)), 0.5)
    hidden = mask.hidden.view(3, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    changed = torch.where(hidden, torch.rand(x.shape, generator=generator(9)), x)
    assert torch.equal(model(changed, mask=mask).prediction, model(x, mask=mask).prediction)
    whole = torch.where(hidden, x, torch.rand(x.shape, generator=generator(9)))
    assert not torch.equal(model(whole, mask=mask).prediction, model(x, mask=mask).prediction)


def test_salience_is_summed_over_mask_units():
    model = simmim(masker="salience", settings={"noise": 0.0, "warmup": 0.0})
    found = model(images(), ratio=0.5, generator=generator(0))
    received = received_affinity(embedded(model.encoder, images())[1]).view(3, 4, 2, 4, 2).sum(dim=(2, 4)).flatten(1)
    assert torch.allclose(found.mask.guide, unit_interval(received))
    assert found.mask.hidden.equal(mask_from_scores(unit_interval(received), 0.5).hidden)


def test_salience_of_other_features():
    settings = {"noise": 0.0, "warmup": 0.0}
    model = simmim(masker="salience", settings={**settings, "features": "block:1"})
    tokens = model.encoder.blocks[0](torch.cat(embedded(model.encoder, images()), dim=1))
    tokens = tokens[:, model.encoder.num_prefix_tokens :]
    received = received_affinity(tokens).view(3, 4, 2, 4, 2).sum(dim=(2, 4)).flatten(1)
    guide = model(images(), ratio=0.5, generator=generator(0)).mask.guide
    assert torch.allclose(guide, unit_interval(received), atol=1e-5)


def test_salience_works_on_windows_too():
    model = simmim("swin_tiny_patch4_window7_224", "salience", {"spread": 0.1, "warmup": 0.0})
    found = model(images(), ratio=0.6, generator=generator(0))
    assert found.terms["reconstruction"].isfinite()


class Loudest(Masker):
    """A masker of another distribution: it hides what has the largest norm."""

    card = MethodCard("loudest", "Largest norm first", "-", "images", "nothing", "Tests.")
    Settings = NoSettings
    reads_tokens = True

    def guide_statistics(self, guide):
        return {"loudness": guide.mean()}

    def __call__(self, tokens, *, ratio, **_):
        norms = tokens.norm(dim=-1)
        return mask_from_scores(norms, ratio, norms)


def test_any_masker_reads_the_mean_token_of_a_mask_unit():
    torch.manual_seed(0)
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **MODELS["vit_tiny_patch16_224"])
    model = SimMIM(encoder, Loudest(NoSettings()), shape=(3, 32, 32), unit=8).eval()
    mask = model(images(), ratio=0.5, generator=generator(0)).mask
    means = embedded(encoder, images())[1].view(3, 4, 2, 4, 2, 24).mean(dim=(2, 4)).flatten(1, 2)
    torch.testing.assert_close(mask.guide, means.norm(dim=-1))
    statistics = MaskStatistics(model.masker)
    statistics.add(mask)
    assert statistics.summary()["loudness"] == pytest.approx(mask.guide.mean().item())


def test_attention_is_summed_over_mask_units():
    model = simmim(masker="attention")
    said = Teacher(model)(images())
    by_hand = class_attention(model.encoder, images()).view(3, 4, 2, 4, 2).sum(dim=(2, 4)).flatten(1)
    assert torch.allclose(said, by_hand)
    found = model(images(), ratio=0.5, generator=generator(0), guide=said)
    assert found.mask.hidden.equal(mask_from_scores(said, 0.5).hidden)


def test_pictures_show_what_was_visible():
    model, x = simmim(), images()
    found = model(x, mask=mask_from_hidden(torch.arange(16).lt(6).expand(3, 16)))
    masked, guess = model.pictures(x, found)
    assert masked[:, :, 16:].equal(x[:, :, 16:])
    assert guess[:, :, :8].equal(found.prediction[:, :, :8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": 12}, "not a multiple of the mask unit 12x12"),
        ({"unit": 2}, "not a multiple of the patch size 4"),
        ({"name": "resnet18", "masker": "salience"}, "ResNet has no patch embedding"),
        (
            {"masker": "salience", "settings": {"features": "block:9"}},
            "features 'block:9' do not exist in a transformer of",
        ),
        (
            {"name": "swin_tiny_patch4_window7_224", "masker": "salience", "settings": {"features": "block:1"}},
            "features 'block:1' need a plain",
        ),
        ({"masker": "predicted_loss"}, "is for masked autoencoders only"),
        ({"name": "resnet18", "masker": "attention"}, "is not a plain vision transformer"),
    ],
)
def test_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        simmim(**options)
