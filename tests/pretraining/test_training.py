"""Pre-training as a whole: it learns, and what it is given decides alone how."""

import numpy as np
import pytest
import torch

from myosotis.engine.errors import DivergedError
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.training import PretrainSettings, check_ratio, make_optimizer, pretrain


@pytest.mark.parametrize("masker", ["random", "salience", "attention", "predicted_loss"])
def test_reconstruction_is_learnt(network, stripes, masker):
    model = network(masker)
    settings = PretrainSettings(epochs=40, batch_size=16, base_learning_rate=0.1, area=(1.0, 1.0), flip=0.0, ratio=0.5)
    outcome = pretrain(model, stripes().images, settings)
    first, last = outcome.history[0]["reconstruction"], outcome.history[-1]["reconstruction"]
    assert last < 0.97 * first
    assert outcome.steps == 160
    if masker == "predicted_loss":
        assert outcome.history[-1]["predicted_loss"] < outcome.history[0]["predicted_loss"]


def test_predicted_losses_guide_more_and_more(network, stripes):
    model = network("predicted_loss", {"begin": 0.0, "end": 1.0})
    settings = PretrainSettings(epochs=20, batch_size=32, base_learning_rate=1e-2, ratio=0.5)
    history = pretrain(model, stripes().images, settings).history
    gaps = [one["guide_of_hidden"] - one["guide_of_visible"] for one in history]
    assert abs(gaps[0]) < 0.25 * abs(gaps[-1])
    assert gaps[-1] > 0


def test_two_half_batches_are_one(network, stripes):
    options = {"epochs": 2, "area": (1.0, 1.0), "flip": 0.0, "warmup": 0}
    weights = []
    for batch, accumulate in ((32, 1), (16, 2)):
        model = network("salience", {"noise": 0.0, "warmup": 0.0})
        settings = PretrainSettings(batch_size=batch, accumulate=accumulate, **options)
        assert settings.learning_rate == pytest.approx(1.5e-4 * 32 / 256)
        # Half batches of one order are the halves of whole batches.
        pretrain(model, stripes().images, settings)
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=1e-6, rtol=1e-4)


def test_a_training_that_diverges_says_so(network, stripes):
    model = network()
    settings = PretrainSettings(epochs=5, batch_size=32, base_learning_rate=1e30, warmup=0)
    with pytest.raises(DivergedError, match="diverged in epoch"):
        pretrain(model, stripes().images, settings)


def test_biases_and_norms_do_not_decay(network):
    model = network()
    groups = make_optimizer(model, PretrainSettings()).param_groups
    decay = {group["weight_decay"]: sum(len(one.shape) <= 1 for one in group["params"]) for group in groups}
    assert set(decay) == {0.0, 0.05}
    assert decay[0.05] == 0


@pytest.mark.parametrize(("ratio", "message"), [(0.99, "no visible"), (1.2, "exceeds \\[0, 1\\]")])
def test_ratios_that_hide_all(ratio, message):
    with pytest.raises(ValueError, match=message):
        check_ratio(build_masker("random"), 49, ratio)


def test_the_ratio_goes_where_it_should(network, stripes):
    model = network()
    settings = PretrainSettings(epochs=5, batch_size=16, warmup=0, ratio=0.25, ratio_end=0.75)
    shown = [entry["ratio"] for entry in pretrain(model, stripes().images, settings).history]
    steps = [0.25 + 0.5 * step / 20 for step in range(20)]
    wanted = [
        np.mean([1 - np.floor(16 * (1 - ratio) + 1e-6) / 16 for ratio in steps[low : low + 4]])
        for low in range(0, 20, 4)
    ]
    assert shown == pytest.approx(wanted)
    with pytest.raises(ValueError, match="no visible"):
        pretrain(model, stripes().images, PretrainSettings(epochs=2, batch_size=16, ratio_end=0.99))
