"""Masked autoencoders: nothing leaks, padding changes nothing, and transformers' own model says the same."""

import copy

import pytest
import timm
import torch
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from myosotis.engine.seeding import generator
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.patches import from_patches, normalized_patches, sine_positions, to_patches
from myosotis.pretraining.salience import token_salience
from myosotis.pretraining.token_mask import mask_from_hidden, mask_from_scores
from myosotis.pretraining.vision_transformer import embedded

SIDE, PATCH = 20, 4


def ragged():
    """A mask that shows 7, 12, 16 and 12 tokens."""
    order = torch.rand(4, 25, generator=generator(3)).argsort(dim=1)
    return mask_from_hidden(order >= torch.tensor([7, 12, 16, 12])[:, None])


def test_positions_have_equal_norms_and_are_fixed(autoencoder):
    assert sine_positions((7, 7), 64).square().sum(dim=1).tolist() == pytest.approx([32.0] * 49, rel=1e-5)
    assert sine_positions((2, 3), 8)[4].tolist() == pytest.approx(
        [0.841471, 0.0099998, 0.540302, 0.99995, 0.841471, 0.0099998, 0.540302, 0.99995], abs=1e-5
    )
    model = autoencoder()
    assert not model.encoder.pos_embed.requires_grad
    assert model.encoder.pos_embed[0, 1:].equal(sine_positions((5, 5), 24))
    assert model.encoder.pos_embed[0, 0].eq(0).all()


def test_padding_changes_nothing(autoencoder, images):
    model, x, mask = autoencoder(), images(), ragged()
    assert mask.ragged
    together = model(x, mask=mask)
    for image in range(4):
        alone = mask_from_hidden(mask.hidden[image : image + 1])
        found = model(x[image : image + 1], mask=alone)
        assert torch.allclose(found.prediction[0], together.prediction[image], atol=1e-5)
        shown = model.encode(x[image : image + 1], alone)[1][0]
        count = mask.counts[image]
        assert torch.allclose(model.encode(x, mask)[1][image, :count], shown, atol=1e-5)


def test_what_stands_in_the_padding_is_never_read(autoencoder, images):
    model, x, mask = autoencoder(), images(), ragged()
    plain = model(x, mask=mask)
    other = copy.deepcopy(mask)
    # Padding points at other hidden tokens instead.
    for image in range(4):
        out = mask.hidden[image].nonzero().flatten().flip(0)
        pad = int((~mask.valid[image]).sum())
        other.keep[image, mask.counts[image] :] = out[:pad]
    assert not other.keep.equal(mask.keep)
    assert model(x, mask=other).prediction.equal(plain.prediction)


def test_hidden_pixels_do_not_leak(autoencoder, images):
    model, x, mask = autoencoder(), images(), ragged()
    hidden = from_patches(mask.hidden.unsqueeze(-1).expand(-1, -1, 48).float(), 4, (5, 5)).bool()
    changed = torch.where(hidden, torch.rand(x.shape, generator=generator(9)), x)
    before, after = model(x, mask=mask), model(changed, mask=mask)
    assert after.prediction.equal(before.prediction)
    assert after.terms["reconstruction"] != before.terms["reconstruction"]
    x.requires_grad_()
    model.encode(x, mask)[1][mask.valid].sum().backward()
    assert x.grad[hidden].eq(0).all()
    assert x.grad[~hidden].ne(0).any()


def test_the_loss_depends_on_hidden_targets_alone(autoencoder, images):
    model, x, mask = autoencoder(norm_pix=False), images(), ragged()
    prediction = model(x, mask=mask).prediction
    by_hand = (prediction - to_patches(x, 4)).square().mean(dim=-1)[mask.hidden].mean()
    assert model(x, mask=mask).terms["reconstruction"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_masks_of_salience_follow_the_embedded_patches(autoencoder, images):
    model = autoencoder("salience", {"noise": 0.0, "warmup": 0.0})
    found = model(images(), ratio=0.5, generator=generator(0))
    tokens = embedded(model.encoder, images())[1]
    assert found.mask.hidden.equal(mask_from_scores(token_salience(tokens), 0.5).hidden)


@pytest.mark.parametrize("prefix", [{}, {"class_token": False, "global_pool": "avg", "fc_norm": False}])
def test_salience_of_other_features(vit, autoencoder, images, prefix):
    found, taken = {}, {}
    for features in ("embed", "patch", "block:1", "block:2"):
        settings = {"noise": 0.0, "warmup": 0.0, "features": features}
        # What the first block gets in training is compared as it is.
        dropped = {} if features == "embed" else {"pos_drop_rate": 0.5}
        model = autoencoder("salience", settings, encoder={"drop_path_rate": 0.5, **dropped, **prefix}).train()
        found[features] = model(images(), ratio=0.5, generator=generator(0)).mask.guide
        assert model.encoder.blocks[0].training
    vit, skipped = model.encoder.eval(), model.encoder.num_prefix_tokens
    taken["patch"] = vit.patch_embed(images())
    everything = taken["embed"] = vit._pos_embed(taken["patch"])
    for number, block in enumerate(vit.blocks, start=1):
        everything = taken[f"block:{number}"] = block(everything)
    for features, tokens in taken.items():
        wanted = token_salience(tokens if features == "patch" else tokens[:, skipped:])
        assert torch.allclose(found[features], wanted, atol=1e-5), features
    assert not torch.allclose(found["patch"], found["embed"], atol=1e-2)


@pytest.mark.parametrize("features", ["embed", "patch", "block:2"])
def test_autocast_leaves_the_choice_as_it_is(autoencoder, images, features):
    model = autoencoder("salience", {"spread": 0.1, "warmup": 0.0, "features": features})
    with torch.autocast("cpu", torch.bfloat16):
        inside = model(images(), ratio=0.6, generator=generator(0))
    outside = model(images(), ratio=0.6, generator=generator(0))
    assert inside.mask.hidden.equal(outside.mask.hidden)
    assert inside.mask.guide.equal(outside.mask.guide)
    assert inside.terms["reconstruction"].dtype == torch.float32


@pytest.mark.parametrize("masker", ["random", "predicted_loss"])
def test_recomputing_activations_changes_no_gradient(autoencoder, images, masker):
    plain, thrifty = autoencoder(masker), autoencoder(masker, recompute=True)
    thrifty.load_state_dict(plain.state_dict())
    for model in (plain, thrifty):
        found = model(images(), mask=ragged())
        sum(found.terms.values()).backward()
    for one, other in zip(plain.parameters(), thrifty.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None)
        if one.grad is not None:
            assert torch.allclose(one.grad, other.grad, atol=1e-7)


def test_every_weight_learns_but_the_positions(autoencoder, images):
    model = autoencoder("predicted_loss")
    sum(model(images(), mask=ragged()).terms.values()).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == ["encoder.pos_embed"]


@pytest.mark.parametrize("tokens", [{"class_token": False, "global_pool": "avg", "fc_norm": False}, {"reg_tokens": 2}])
def test_other_prefix_tokens(autoencoder, images, tokens):
    model = autoencoder(encoder=tokens)
    found = model(images(), mask=ragged())
    assert found.terms["reconstruction"].isfinite()
    assert model.encode(images())[1].shape == (4, 25, 24)
    whole = model.encoder.forward_features(images())
    assert torch.allclose(torch.cat(model.encode(images()), dim=1), whole, atol=1e-6)


def test_pictures_show_what_was_visible(autoencoder, images):
    model, x, mask = autoencoder(), images(), ragged()
    masked, guess = model.pictures(x, model(x, mask=mask))
    hidden = from_patches(mask.hidden.unsqueeze(-1).expand(-1, -1, 48).float(), 4, (5, 5)).bool()
    assert masked[~hidden].equal(x[~hidden])
    assert guess[~hidden].equal(x[~hidden])
    # Guesses have mean and deviation of the patches that they stand for.
    perfect = model(x, mask=mask)
    perfect.prediction.copy_(normalized_patches(to_patches(x, 4)))
    assert torch.allclose(model.pictures(x, perfect)[1], x, atol=1e-4)


def test_other_faults(autoencoder, images):
    with pytest.raises(ValueError, match="is not a plain vision transformer"):
        MaskedAutoencoder(timm.create_model("resnet18"), build_masker("random"))
    with pytest.raises(ValueError, match="set 'class_token'"):
        autoencoder("attention", encoder={"class_token": False, "global_pool": "avg", "fc_norm": False})
    with pytest.raises(ValueError, match="give a generator or a mask"):
        autoencoder()(images())
    with pytest.raises(ValueError, match="is not a multiple of its 3 heads"):
        autoencoder(decoder_heads=3)


def _copied(ours, theirs):
    """Give transformers' model our weights."""
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    names |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2", "attn.proj": "attention.o_proj"}
    wanted = {
        "vit.embeddings.cls_token": ours["encoder.cls_token"],
        "vit.embeddings.position_embeddings": ours["encoder.pos_embed"],
        "decoder.mask_token": ours["decoder.mask_token"],
        "decoder.decoder_pos_embed": torch.cat([torch.zeros(1, 16), sine_positions((5, 5), 16)])[None],
    }
    pairs = {
        "vit.embeddings.patch_embeddings.projection": "encoder.patch_embed.proj",
        "vit.layernorm": "encoder.norm",
        "decoder.decoder_embed": "decoder.embed",
        "decoder.decoder_norm": "decoder.norm",
        "decoder.decoder_pred": "decoder.predict",
    }
    for mine, other, depth in (
        ("encoder.blocks", "vit.layers", 2),
        ("decoder.blocks", "decoder.decoder_layers", 1),
    ):
        for number in range(depth):
            pairs |= {f"{other}.{number}.{b}": f"{mine}.{number}.{a}" for a, b in names.items()}
            for kind in ("weight", "bias"):
                three = ours[f"{mine}.{number}.attn.qkv.{kind}"].chunk(3)
                for part, value in zip(("q_proj", "k_proj", "v_proj"), three, strict=True):
                    wanted[f"{other}.{number}.attention.{part}.{kind}"] = value
    for other, mine in pairs.items():
        wanted |= {f"{other}.{kind}": ours[f"{mine}.{kind}"] for kind in ("weight", "bias")}
    missing, unexpected = theirs.load_state_dict(wanted, strict=False)
    assert not missing
    assert not unexpected


@pytest.mark.parametrize("norm_pix", [True, False])
def test_the_model_of_transformers_says_the_same(autoencoder, images, norm_pix):
    ours = autoencoder(norm_pix=norm_pix)
    config = ViTMAEConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96, image_size=SIDE,
        patch_size=PATCH, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=64, mask_ratio=0.75, norm_pix_loss=norm_pix, layer_norm_eps=1e-6,
    )  # fmt: skip
    theirs = ViTMAEForPreTraining(config).eval()
    _copied(ours.state_dict(), theirs)
    scores = torch.rand(4, 25, generator=generator(5))
    mask = mask_from_scores(scores, 0.75)
    found, other = ours(images(), mask=mask), theirs(pixel_values=images(), noise=scores)
    assert other.mask.bool().equal(mask.hidden)
    assert other.loss.item() == pytest.approx(found.terms["reconstruction"].item(), abs=1e-5)
    assert torch.allclose(other.logits, found.prediction, atol=1e-5)


def test_the_recipe_for_transformers(images):
    """Salience as the noise of transformers' own model, as the guide has it."""
    config = ViTMAEConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=SIDE,
        patch_size=PATCH, decoder_hidden_size=16, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
        decoder_intermediate_size=32, mask_ratio=0.75,
    )  # fmt: skip
    model = ViTMAEForPreTraining(config)
    pixel_values = images()
    embeddings = model.vit.embeddings
    tokens = embeddings.patch_embeddings(pixel_values) + embeddings.position_embeddings[:, 1:]
    salience = token_salience(tokens, scale="sqrt_dim")
    noise = salience + 0.5 * torch.rand(salience.shape, generator=generator(0))
    outputs = model(pixel_values, noise=noise)
    assert outputs.mask.bool().equal(mask_from_scores(noise, 0.75).hidden)
    assert outputs.loss.isfinite()
