"""On real images: what holds the rest must hold it."""

import pytest
import torch
from sklearn.datasets import load_digits

from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.unlearning.classifier import PRESETS, unlearn_instances
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier

COUNT = 8


@pytest.fixture(scope="module")
def digits():
    """A trained classifier of 1300 digits, the instances to forget, and the rest."""
    found = load_digits()
    images = torch.from_numpy(found.images * 255 / 16).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(found.target).long()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    options = {"widths": [16, 32], "blocks": [1, 1]}
    model = build_classifier(ClassifierSpec("small-resnet", 10, 1, (0.3,), (0.37,), options), seed=0)
    train_classifier(model, images[:1300], labels[:1300], TrainSettings(epochs=6, batch_size=64), seed=0)
    pixels = images.float() / 255
    parts = (slice(COUNT), slice(COUNT, 1300), slice(1300, None))
    return model, *((pixels[part], labels[part]) for part in parts)


def accuracy(model, part):
    with torch.no_grad():
        return (model(part[0]).argmax(dim=1) == part[1]).float().mean().item()


def kept(digits, goal, method, method_settings=None):
    model, forget, remaining, test = digits
    result = unlearn_instances(model, forget, goal, method, method_settings, PRESETS["recommended"].settings)
    assert result.converged
    assert accuracy(result.model, forget) == 0
    return accuracy(result.model, remaining), accuracy(result.model, test)


def test_adversarial_examples_keep_what_plain_methods_lose(digits):
    model, forget, _, test = digits
    assert accuracy(model, forget) == 1
    assert accuracy(model, test) > 0.95
    preset = PRESETS["recommended"]
    ascent = kept(digits, "misclassify", "neggrad")
    adversarial = kept(digits, "misclassify", "adv", {"eps": 0.5, "step_size": 0.15, "steps": 6})
    relabelled = kept(digits, "relabel", "relabel")
    recommended = kept(digits, preset.goal, preset.method, preset.method_settings)
    for part in (0, 1):
        assert adversarial[part] > ascent[part] + 0.3
        assert recommended[part] > relabelled[part] + 0.15
        assert recommended[part] > 0.85
