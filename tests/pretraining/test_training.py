"""Pre-training as a whole: it learns, and what it is given decides alone how."""

import itertools

import numpy as np
import pytest
import timm
import torch

from myosotis.data.images import ImageSet
from myosotis.engine.errors import DivergedError
from myosotis.engine.seeding import generator
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.normalization import Normalize, NormalizedClassifier
from myosotis.pretraining.batches import ImageBatches
from myosotis.pretraining.encoder_probes import EncoderProbes, encoder_features
from myosotis.pretraining.finetuning import FinetuneSettings, _optimizer, finetune, with_new_head
from myosotis.pretraining.mae import MaskedAutoencoder
from myosotis.pretraining.mask_statistics import MaskStatistics
from myosotis.pretraining.maskers import MASKERS, build_masker
from myosotis.pretraining.objectives import build_model
from myosotis.pretraining.training import PretrainSettings, check_ratio, make_optimizer, pretrain

SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}
OPTIONS = {**SIZES, "global_pool": "avg", "fc_norm": False}
SPEC = ClassifierSpec("vit_tiny_patch16_224", 0, 1, (0.0,), (1.0,), OPTIONS)


def network(masker="random", settings=None, seed=0):
    encoder = build_classifier(SPEC, seed=seed)
    sizes = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    hiding = build_masker(masker, settings)
    return build_model("mae", sizes, encoder.classifier, hiding, (1, 16, 16), seed=seed, normalize=encoder.normalize)


def stripes(count=64, seed=0):
    """Images of two classes: stripes along or across."""
    draws = np.random.default_rng(seed)
    images = np.zeros((count, 1, 16, 16), dtype=np.uint8)
    labels = np.arange(count) % 2
    for place in range(count):
        wave = 120 + 100 * np.sin(np.arange(16) * draws.uniform(0.8, 1.2) + draws.uniform(0, 6))
        images[place, 0] = wave[None, :] if labels[place] else wave[:, None]
    names = tuple(f"{seed}-{place}" for place in range(count))
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels), names, ("across", "along"))


@pytest.mark.parametrize("masker", MASKERS)
def test_encoders_of_one_seed_are_alike_whatever_hides(masker):
    plain, other = network().state_dict(), network(masker).state_dict()
    for name, value in plain.items():
        assert value.equal(other[name]), name
    assert not plain["encoder.patch_embed.proj.weight"].equal(network(seed=1).encoder.patch_embed.proj.weight)


@pytest.mark.parametrize("masker", ["random", "salience", "attention", "predicted_loss"])
def test_reconstruction_is_learnt(masker):
    model = network(masker)
    settings = PretrainSettings(epochs=40, batch=16, base_learning_rate=0.1, area=(1.0, 1.0), flip=0.0, ratio=0.5)
    outcome = pretrain(model, stripes().images, settings)
    first, last = outcome.history[0]["reconstruction"], outcome.history[-1]["reconstruction"]
    assert last < 0.97 * first
    assert outcome.steps == 160
    if masker == "predicted_loss":
        assert outcome.history[-1]["predicted_loss"] < outcome.history[0]["predicted_loss"]


def test_predicted_losses_guide_more_and_more():
    model = network("predicted_loss", {"begin": 0.0, "end": 1.0})
    settings = PretrainSettings(epochs=20, batch=32, base_learning_rate=1e-2, ratio=0.5)
    history = pretrain(model, stripes().images, settings).history
    gaps = [one["guide_of_hidden"] - one["guide_of_visible"] for one in history]
    assert abs(gaps[0]) < 0.25 * abs(gaps[-1])
    assert gaps[-1] > 0


def test_two_half_batches_are_one():
    options = {"epochs": 2, "area": (1.0, 1.0), "flip": 0.0, "warmup": 0}
    weights = []
    for batch, accumulate in ((32, 1), (16, 2)):
        model = network("salience", {"noise": 0.0, "warmup": 0.0})
        settings = PretrainSettings(batch=batch, accumulate=accumulate, **options)
        assert settings.learning_rate == pytest.approx(1.5e-4 * 32 / 256)
        # Half batches of one order are the halves of whole batches.
        pretrain(model, stripes().images, settings)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-6, rtol=1e-4)


def test_a_training_that_diverges_says_so():
    model = network()
    settings = PretrainSettings(epochs=5, batch=32, base_learning_rate=1e30, warmup=0)
    with pytest.raises(DivergedError, match="diverged in epoch"):
        pretrain(model, stripes().images, settings)


def test_biases_and_norms_do_not_decay():
    model = network()
    groups = make_optimizer(model, PretrainSettings()).param_groups
    decay = {group["weight_decay"]: sum(len(one.shape) <= 1 for one in group["params"]) for group in groups}
    assert set(decay) == {0.0, 0.05}
    assert decay[0.05] == 0


def test_batches_are_whole_and_depend_on_the_epoch():
    images = torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1).expand(20, 1, 4, 4).contiguous()
    batches = ImageBatches(images, size=6, area=(1.0, 1.0), flip=0.0, seed=0)
    assert batches.steps == 3
    epochs = [
        [(batch.images[:, 0, 0, 0] * 255).round().int().tolist() for batch in batches(epoch)] for epoch in (0, 0, 1)
    ]
    assert epochs[0] == epochs[1] != epochs[2]
    seen = [value for batch in epochs[0] for value in batch]
    assert len(set(seen)) == 18
    seeds = {batch.seed for epoch in (0, 1) for batch in batches(epoch)}
    assert len(seeds) == 6
    with pytest.raises(ValueError, match="fewer than a batch of 21"):
        ImageBatches(images, size=21, area=(1.0, 1.0), flip=0.0, seed=0)


def test_statistics_follow_the_threshold_of_the_masker():
    masker = build_masker("salience", {"spread": 0.2, "threshold": 0.2, "noise": 0.0, "warmup": 0.0})
    salience = torch.tensor([[0.0, 0.1, 0.3, 1.0], [0.0, 0.1, 0.15, 1.0]])
    statistics = MaskStatistics(masker)
    statistics.add(masker.from_salience(salience, 0.5, 1.0, generator(0)))
    told = statistics.told()
    assert told["salient_share"] == pytest.approx(3 / 8)
    # The lower one of two in the middle.
    assert told["salience_median"] == pytest.approx(0.1)
    # Ratios of 0.5 and 0.4 of four tokens: two and one of them stay visible... counted, not assumed.
    assert told["ratio"] == pytest.approx(0.5)
    assert told["guide_of_hidden"] > told["guide_of_visible"]


@pytest.mark.parametrize(("ratio", "message"), [(0.99, "no visible"), (1.2, "leaves \\[0, 1\\]")])
def test_ratios_that_hide_all(ratio, message):
    with pytest.raises(ValueError, match=message):
        check_ratio(build_masker("random"), 49, ratio)


def test_the_ratio_goes_where_it_should():
    model = network()
    settings = PretrainSettings(epochs=5, batch=16, warmup=0, ratio=0.25, ratio_end=0.75)
    shown = [entry["ratio"] for entry in pretrain(model, stripes().images, settings).history]
    steps = [0.25 + 0.5 * step / 20 for step in range(20)]
    wanted = [
        np.mean([1 - np.floor(16 * (1 - ratio) + 1e-6) / 16 for ratio in steps[low : low + 4]])
        for low in range(0, 20, 4)
    ]
    assert shown == pytest.approx(wanted)
    with pytest.raises(ValueError, match="no visible"):
        pretrain(model, stripes().images, PretrainSettings(epochs=2, batch=16, ratio_end=0.99))


def test_probes_see_what_they_are_given():
    model = network()
    probes = EncoderProbes(stripes(40), stripes(30, seed=1), samples=20)
    assert (probes.count, probes.test_count) == (20, 30)
    assert probes.pixels().knn > 0.8
    features = encoder_features(model, stripes(6).images, "cpu", cells=2)
    assert features.shape == (6, 4 * 16)
    # The mean over cells is the plain feature.
    torch.testing.assert_close(features.view(6, 16, 4).mean(dim=2), encoder_features(model, stripes(6).images, "cpu"))
    with pytest.raises(ValueError, match="smaller than 5x5"):
        encoder_features(model, stripes(2).images, "cpu", cells=5)


def test_fine_tuning_learns_classes():
    model = network()
    classifier = with_new_head(model.encoder, SPEC, 2, drop_path=0.0, seed=0)
    settings = FinetuneSettings(
        epochs=30,
        batch=16,
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
    mixed = FinetuneSettings(epochs=1, batch=16)
    state = torch.get_rng_state()
    one = finetune(again, stripes(), stripes(40, seed=1), mixed)
    assert torch.get_rng_state().equal(state)
    other = with_new_head(model.encoder, SPEC, 2, drop_path=0.1, seed=0)
    assert one == finetune(other, stripes(), stripes(40, seed=1), mixed)


def test_earlier_layers_have_smaller_rates():
    spec = ClassifierSpec("vit_tiny_patch16_224", 3, 1, (0.0,), (1.0,), {**OPTIONS, "depth": 4})
    model = build_classifier(spec, seed=0)
    settings = FinetuneSettings(layer_decay=0.5, batch=256, base_learning_rate=1e-3)
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


def test_fine_tuning_that_diverges_says_so():
    model = network()
    classifier = with_new_head(model.encoder, SPEC, 2, drop_path=0.0, seed=0)
    settings = FinetuneSettings(epochs=2, batch=16, base_learning_rate=1e35, mixup=0.0, cutmix=0.0)
    with pytest.raises(DivergedError, match="fine-tuning diverged"):
        finetune(classifier, stripes(), stripes(20, seed=1), settings)


def test_a_network_that_was_trained_elsewhere_keeps_its_positions():
    encoder = timm.create_model("vit_tiny_patch16_224", in_chans=1, num_classes=0, **OPTIONS)
    with torch.no_grad():
        encoder.pos_embed.fill_(0.3)
    sizes = {"decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2}
    model = MaskedAutoencoder(encoder, build_masker("random"), fresh=False, **sizes)
    assert model.encoder.pos_embed.eq(0.3).all()
    assert model.encoder.pos_embed.requires_grad
    assert isinstance(NormalizedClassifier(encoder, [0.0], [1.0]).normalize, Normalize)
