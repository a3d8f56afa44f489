"""Transformers of timm taken apart."""

import pytest
import torch
from timm.layers import set_fused_attn
from timm.models.vision_transformer import Block

from myosotis.pretraining.token_mask import mask_from_hidden
from myosotis.pretraining.vision_transformer import class_attention


def test_attention_of_the_class_token_by_hand(vit, images):
    model = vit()
    seen = {}
    last = model.blocks[-1].attn
    last.fused_attn = False
    last.attn_drop.register_forward_hook(lambda module, inputs, output: seen.update(weights=inputs[0]))
    model.eval().forward_features(images())
    assert torch.allclose(class_attention(model, images()), seen["weights"][:, :, 0, 1:].mean(dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fc_norm": True, "global_pool": "avg"}, "norm after pooling"),
        ({"patch_drop_rate": 0.5}, "patch_drop_rate"),
        ({"dynamic_img_size": True}, "dynamic_img_size"),
        ({"pos_embed": "none"}, "without position embeddings"),
        ({"embed_dim": 30}, "divisible by 4, got 30"),
    ],
)
def test_encoders_that_cannot_be_masked(autoencoder, options, message):
    with pytest.raises(ValueError, match=message):
        autoencoder(encoder=options)


def test_blocks_that_read_beyond_a_mask_are_refused(autoencoder, monkeypatch):
    """Before timm 1.0.26 a mask of yes and no was added to the scores: images of a row read each other, silently."""

    def added(seq_len, attn, attn_mask=None, is_causal=False):
        return attn_mask

    autoencoder()
    monkeypatch.setattr("timm.layers.attention.resolve_self_attn_mask", added)
    set_fused_attn(False)
    try:
        with pytest.raises(ValueError, match="does not keep to a mask of yes and no"):
            autoencoder()
    finally:
        set_fused_attn(True)


def test_blocks_without_masks_are_refused(autoencoder, monkeypatch):
    """Before timm 1.0.16 every run ended in a ``TypeError``."""
    forward = Block.forward
    monkeypatch.setattr(Block, "forward", lambda self, x: forward(self, x))
    with pytest.raises(ValueError, match="take no mask of attention"):
        autoencoder()


@pytest.mark.parametrize("fused", [True, False])
def test_packed_is_as_alone_with_and_without_fused_attention(autoencoder, images, fused):
    set_fused_attn(fused)
    try:
        model = autoencoder().eval()
    finally:
        set_fused_attn(True)
    hidden = torch.zeros(2, 25, dtype=torch.bool)
    hidden[0, :20] = hidden[1, :4] = True
    both = model(images()[:2], mask=mask_from_hidden(hidden)).prediction
    alone = [model(images()[i : i + 1], mask=mask_from_hidden(hidden[i : i + 1])).prediction for i in (0, 1)]
    torch.testing.assert_close(both, torch.cat(alone))
