"""Transformers of timm taken apart."""

import pytest
import torch

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
