"""Batch normalisation while a model unlearns: batches of one image in front of maps of one pixel."""

import copy

import pytest
import torch
from torch import nn

from myosotis.unlearning.classifier import UnlearnSettings, unlearn_instances
from myosotis.unlearning.classifier.batch_norm import set_modes, single_values_by_running_statistics
from myosotis.unlearning.classifier.methods import METHODS

ADVERSARIAL = {"copies": 1, "steps": 2, "eps": 0.5}


def deep_network():
    """Its last map is 1x1, as that of a ResNet of images of 32 pixels."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)),
    ).eval()


def images(count):
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("forget", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_batches_of_one_image(name, forget):
    model = deep_network()
    labels = model(images(forget)).argmax(dim=1)
    result = unlearn_instances(
        model,
        (images(forget), labels),
        METHODS[name].goals[0],
        name,
        ADVERSARIAL if name.startswith("adv") else {},
        # Batches of two: of three instances, and of five retained ones, one is left.
        UnlearnSettings(forget_batch_size=2, batch_size=2, epochs=2, learning_rate=0.01),
        retain=(images(5), torch.zeros(5, dtype=torch.long)),
    )
    assert result.stop_reason != "diverged"
    assert all(value.isfinite().all() for value in result.model.state_dict().values())


def test_a_single_value_is_normalised_by_the_running_statistics_and_leaves_them():
    model = deep_network()
    set_modes(model, "train")
    running = copy.deepcopy(model[5].state_dict())
    inner, before = [], images(1)
    with single_values_by_running_statistics(model):
        model[5].register_forward_hook(lambda module, inputs, output: inner.append((inputs[0], output)))
        model(before)
        model(images(4))
    (single, output), (several, others) = inner
    module = model[5]
    scale = (running["running_var"] + module.eps).rsqrt()
    expected = (single.flatten() - running["running_mean"]) * scale * module.weight + module.bias
    torch.testing.assert_close(output.flatten(), expected)
    normalised = (several - several.mean(0)) / (several.var(0, unbiased=False) + module.eps).sqrt()
    torch.testing.assert_close(others.flatten(1), (normalised.flatten(1) * module.weight + module.bias))
    assert module.training
    assert int(module.num_batches_tracked) == 1  # the batch of four; the first layer has seen both
    assert int(model[1].num_batches_tracked) == 2
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model(before)
