"""What a check says about images: classes at risk, near-duplicates, features; and the name of none of them."""

import pytest
import timm
import torch
from torch import nn

from myosotis.data.images import ImageSet
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.resnet import SmallResNet
from myosotis.unlearning.classifier.job import overlap
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.inputs import NEAR, Inputs, read_inputs
from myosotis.unlearning.classifier.job.models import Models
from myosotis.unlearning.classifier.job.overlap import layer_below_head, overlap_lines

CLASSES = ("a", "b", "c")


def job():
    data = {"train": {"folder": "train"}, "forget": {"count": 3}}
    return ClassifierUnlearningConfig.model_validate({"name": "job", "model": {"path": "saved"}, "data": data})


def image_set(labels, prefix, seed=0):
    pixels = torch.randint(0, 255, (len(labels), 1, 8, 8), generator=torch.Generator().manual_seed(seed))
    names = tuple(f"{prefix}-{number}" for number in range(len(labels)))
    return ImageSet(pixels.to(torch.uint8), torch.tensor(labels, dtype=torch.long), names, CLASSES)


def inputs(forget, remaining, near=0):
    return Inputs(CLASSES, forget, (len(forget),), remaining, None, 0, near)


@pytest.fixture
def models():
    spec = ClassifierSpec("small-resnet", 3, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1]}, CLASSES)
    return Models(build_classifier(spec, seed=0).eval(), spec)


def test_classes_stand_in_the_order_of_their_images_to_forget(models):
    lines = overlap_lines(job(), inputs(image_set([1, 2, 1], "secret"), image_set([0, 1, 2, 2], "kept", 1)), models)
    assert lines[0] == (
        "at risk first are the classes with most images to forget: b (2, and 1 remain), c (1, and 2 remain)"
    )
    assert not any("secret" in line or "kept" in line for line in lines)


def test_an_image_that_remains_too_is_as_near_as_can_be(models):
    forget, remaining = image_set([0, 1], "forget"), image_set([0, 1, 2, 0], "kept", 1)
    remaining.images[2] = forget.images[0]
    lines = overlap_lines(job(), inputs(forget.subset([0]), remaining), models)
    assert "cosine with the nearest to keep 1.00 (median)" in lines[1]
    assert lines[2] == "  images to forget that are nearest to an image of another class: c (1)"


def test_near_duplicates_are_counted(folder, write, models):
    (folder / "list.txt").write_text("a/0.png\n")
    write(folder / "train", "a/near.png", int(255 * NEAR) - 1)
    values = {"train": {"folder": "train"}, "test": {"folder": "test"}, "forget": {"list": "list.txt"}}
    config = ClassifierUnlearningConfig.model_validate(
        {"name": "job", "model": {"architecture": "small-resnet"}, "train": {}, "data": values},
        context={"folder": folder},
    )
    lines = overlap_lines(config, read_inputs(config, ()), models)
    assert lines[1].startswith("  near-duplicates of an image to forget among the remaining ones: 1; ")
    assert lines[2] == "overlap of features: not measured: the model is trained by the job"


def test_images_that_the_model_is_not_sure_of_are_counted(models):
    head = models.base.classifier.head
    head.weight.data[:], head.bias.data[:] = 0, torch.tensor([5.0, 0.0, 0.0])
    lines = overlap_lines(job(), inputs(image_set([0], "forget"), image_set([0, 0, 1, 2, 0], "kept", 1)), models)
    assert lines[-1].startswith("  2 of 5 remaining images are given less than 0.9 for their class")


@pytest.mark.parametrize("remaining", [None, image_set([], "kept")])
def test_without_remaining_images_it_says_so(models, remaining):
    (line,) = overlap_lines(job(), inputs(image_set([0], "forget"), remaining), models)
    assert "are not given (data.train)" in line


def test_one_image_of_each_has_nothing_to_compare_with(models):
    lines = overlap_lines(job(), inputs(image_set([0], "forget"), image_set([0], "kept", 1)), models)
    assert "there is nothing to compare it with" in lines[1]


def test_large_sets_are_sampled_by_the_seed(models, monkeypatch):
    monkeypatch.setattr(overlap, "_MOST", 3)
    given = inputs(image_set([0, 1] * 3, "forget"), image_set([0, 1, 2] * 3, "kept", 1))
    lines = overlap_lines(job(), given, models)
    assert lines[1].startswith("overlap of features (drawn by the seed: 3 of 6, 3 of 9): ")
    assert lines == overlap_lines(job(), given, models)


def test_features_that_are_not_finite_are_not_measured(models):
    next(models.base.parameters()).data[:] = torch.nan
    lines = overlap_lines(job(), inputs(image_set([0], "forget"), image_set([0, 1], "kept", 1)), models)
    assert lines[1] == "overlap of features: not measured: a feature is not finite"


@pytest.mark.parametrize(
    ("name", "layer"),
    [("resnet10t", "layer4"), ("tf_efficientnet_lite0", "bn2"), ("vit_tiny_patch16_224", "norm")],
)
@pytest.mark.parametrize("classes", [0, 3])
def test_the_layer_below_the_head_is_found(name, layer, classes):
    assert layer_below_head(timm.create_model(name, num_classes=classes)) == layer
    assert layer_below_head(SmallResNet(1, classes, widths=(4, 8), blocks=(1, 2))) == "stages.1"


def test_a_network_that_is_all_head_has_none():
    class Linear(nn.Linear):
        def get_classifier(self):
            return self

    with pytest.raises(ValueError, match="no layer below its head"):
        layer_below_head(Linear(2, 3))
