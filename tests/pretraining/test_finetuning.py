"""Fine-tuning an encoder."""

import itertools

import pytest
import torch

from myosotis.engine.errors import DivergedError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.pretraining.finetuning import FinetuneSettings, _optimizer, finetune, with_new_head

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
OPTIONS = {**SIZES, "global_pool": "avg", "fc_norm": False}
SPEC = ClassifierSpec("vit_tiny_patch16_224", 0, 1, (0.0,), (1.0,), OPTIONS)


def test_fine_tuning_learns_classes(network, stripes):
    model = network()
    classifier = with_new_head(model.encoder, SPEC, 2, drop_path=0.0, seed=0)
    settings = FinetuneSettings(
        epochs=30,
        batch_size=16,
        base_learning_rate=4e-2,
        layer_decay=1.0,
        drop_path=0.0,
        mixup=0.0,
        cutmix=0.0,
        shift=0,
        flip=False,
    )
    before = model.encoder.state_dict()["blocks.0.attn.qkv.weight"].clone()
    assert finetune(classifier, stripes(), stripes(40, seed=1), settings) > 0.9
    assert model.encoder.state_dict()["blocks.0.attn.qkv.weight"].equal(before)
    again = with_new_head(model.encoder, SPEC, 2, drop_path=0.1, seed=0)
    mixed = FinetuneSettings(epochs=1, batch_size=16)
    state = torch.get_rng_state()
    one = finetune(again, stripes(), stripes(40, seed=1), mixed)
    assert torch.get_rng_state().equal(state)
    other = with_new_head(model.encoder, SPEC, 2, drop_path=0.1, seed=0)
    assert one == finetune(other, stripes(), stripes(40, seed=1), mixed)


def test_earlier_layers_have_smaller_rates():
    spec = ClassifierSpec("vit_tiny_patch16_224", 3, 1, (0.0,), (1.0,), {**OPTIONS, "depth": 4})
    model = build_classifier(spec, seed=0)
    settings = FinetuneSettings(layer_decay=0.5, batch_size=256, base_learning_rate=1e-3)
    rates = {}
    for group in _optimizer(model, settings).param_groups:
        for name, weight in model.classifier.named_parameters():
            if any(weight is one for one in group["params"]):
                rates[name] = group["lr"]
                if name in ("pos_embed", "cls_token") or weight.ndim <= 1:
                    assert group["weight_decay"] == 0, name
    assert rates["head.weight"] == pytest.approx(1e-3)
    blocks = [rates[f"blocks.{number}.attn.qkv.weight"] for number in range(4)]
    assert [b / a for a, b in itertools.pairwise(blocks)] == pytest.approx([2.0] * 3)
    assert rates["patch_embed.proj.weight"] == pytest.approx(blocks[0] / 2)


def test_fine_tuning_that_diverges_says_so(network, stripes):
    model = network()
    classifier = with_new_head(model.encoder, SPEC, 2, drop_path=0.0, seed=0)
    settings = FinetuneSettings(epochs=2, batch_size=16, base_learning_rate=1e35, mixup=0.0, cutmix=0.0)
    with pytest.raises(DivergedError, match="fine-tuning diverged"):
        finetune(classifier, stripes(), stripes(20, seed=1), settings)
