"""Each transform of a batch against torchvision's of one image, and what is drawn."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from myosotis.data.views import (
    ViewSettings,
    blur_size,
    brightened,
    contrasted,
    draw_boxes,
    gaussian_blurred,
    hue_turned,
    resized_crop,
    saturated,
    solarised,
    two_views,
)

NOTHING = ViewSettings(area=(1.0, 1.0), ratio=(1.0, 1.0), flip=0, jitter=0, grey=0, solarise=(0, 0))


def images(count=6, channels=3, size=(16, 20), seed=0):
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def one_by_one(change, batch, *amounts):
    return torch.stack([change(image, *given) for image, *given in zip(batch, *amounts, strict=True)])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightened, functional.adjust_brightness),
        (contrasted, functional.adjust_contrast),
        (saturated, functional.adjust_saturation),
    ],
)
def test_factors_as_torchvision(ours, theirs):
    factors = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.4, 2.0])
    expected = one_by_one(theirs, images(), factors.tolist())
    torch.testing.assert_close(ours(images(), factors), expected, atol=2e-4, rtol=0)


def test_contrast_of_grey_images():
    factors = torch.tensor([0.0, 0.3, 0.8, 1.0, 1.4, 2.0])
    expected = one_by_one(functional.adjust_contrast, images(channels=1), factors.tolist())
    torch.testing.assert_close(contrasted(images(channels=1), factors), expected)


def test_hue_as_torchvision():
    batch = images()
    batch[0] = batch[0, :1]  # grey has no hue
    batch[1, :, 0, :4] = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    turns = torch.tensor([0.2, -0.5, 0.5, 0.1, -0.1, 0.0])
    expected = one_by_one(functional.adjust_hue, batch, turns.tolist())
    torch.testing.assert_close(hue_turned(batch, turns), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [3, 7])
def test_blur_as_torchvision(size):
    sigma = torch.tensor([0.1, 0.5, 1.0, 1.5, 1.9, 2.0])
    expected = one_by_one(
        lambda image, s: functional.gaussian_blur(image, [size, size], [s, s]), images(), sigma.tolist()
    )
    torch.testing.assert_close(gaussian_blurred(images(), sigma, size), expected)


def test_solarise_as_torchvision():
    torch.testing.assert_close(solarised(images()), functional.solarize(images(), 0.5))


def test_crop_as_torchvision():
    boxes = torch.tensor([[0, 0, 16, 20], [3, 5, 7, 9], [15, 19, 1, 1], [2, 0, 14, 3], [0, 11, 5, 9], [8, 8, 8, 12]])
    mirrored = torch.tensor([False, True, False, True, False, True])
    expected = torch.stack(
        [
            functional.resized_crop(image, *box, size=[16, 20], antialias=True)
            for image, box in zip(images(), boxes.tolist(), strict=True)
        ]
    )
    expected = torch.where(mirrored[:, None, None, None], expected.flip(3), expected)
    torch.testing.assert_close(resized_crop(images(), boxes, mirrored), expected, atol=1e-5, rtol=0)


def test_boxes_are_distributed_as_torchvisions():
    torch.manual_seed(0)
    theirs = torch.tensor(
        [v2.RandomResizedCrop.get_params(torch.empty(3, 32, 24), (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)]
        if hasattr(v2.RandomResizedCrop, "get_params")
        else [list(v2.RandomResizedCrop(8).make_params([torch.empty(3, 32, 24)]).values()) for _ in range(4000)]
    ).double()
    ours = draw_boxes(4000, (32, 24), (0.08, 1.0), (3 / 4, 4 / 3), torch.Generator().manual_seed(0)).double()
    assert bool((ours[:, 0] + ours[:, 2] <= 32).all())
    assert bool((ours[:, 1] + ours[:, 3] <= 24).all())
    for column in range(4):
        wide = theirs[:, column].std() * (2 / 4000) ** 0.5
        assert abs(ours[:, column].mean() - theirs[:, column].mean()) < 4 * wide
        torch.testing.assert_close(ours[:, column].std(), theirs[:, column].std(), rtol=0.06, atol=0)


def test_boxes_fall_back_to_the_middle():
    boxes = draw_boxes(3, (40, 4), (1.0, 1.0), (3 / 4, 4 / 3), torch.Generator().manual_seed(0))
    assert boxes.tolist() == [[17, 0, 5, 4]] * 3


def test_nothing_changes_nothing():
    one, other = two_views(images(size=(16, 16)), NOTHING, torch.Generator().manual_seed(0))
    torch.testing.assert_close(one, images(size=(16, 16)), atol=1e-6, rtol=0)
    torch.testing.assert_close(other, one)


def test_bytes_are_read_in_units():
    batch = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    one, _ = two_views(batch, NOTHING, torch.Generator().manual_seed(0))
    torch.testing.assert_close(one, batch.float() / 255, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("setting", "probability"),
    [("flip", 0.3), ("grey", 0.3), ("jitter", 0.3), ("blur", (0.3, 0.0)), ("solarise", (0.3, 0.0))],
)
def test_each_happens_as_often_as_it_should(setting, probability):
    batch = images(4000, size=(4, 4))
    settings = {"area": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0, "jitter": 0, "grey": 0, "solarise": (0, 0)}
    settings = ViewSettings(**(settings | {setting: probability}))
    one, other = two_views(batch, settings, torch.Generator().manual_seed(1))
    share = ((one - batch).abs().amax(dim=(1, 2, 3)) > 1e-5).double().mean()
    assert abs(share - 0.3) < 4 * (0.21 / 4000) ** 0.5
    if setting in ("blur", "solarise"):
        torch.testing.assert_close(other, batch, atol=1e-6, rtol=0)


def test_views_are_in_range_and_repeatable():
    batch = images(64, size=(12, 12))
    first = two_views(batch, ViewSettings(blur=(0.5, 0.5)), torch.Generator().manual_seed(3))
    again = two_views(batch, ViewSettings(blur=(0.5, 0.5)), torch.Generator().manual_seed(3))
    for one, other in zip(first, again, strict=True):
        assert one.equal(other)
        assert float(one.min()) >= 0
        assert float(one.max()) <= 1 + 1e-6
    assert not batch.equal(first[0])
    assert batch.equal(images(64, size=(12, 12)))  # not in place


def test_orders_of_changes_differ():
    """Black and white in equal parts have a mean of exactly one half after brightening (g > 1) and then contrast, in a
    half of a half of all cases, and after contrast and then brightening if both factors are above 1, in an eighth."""
    batch = torch.zeros(4000, 1, 2, 2)
    batch[:, :, 0] = 1
    settings = ViewSettings(
        area=(1.0, 1.0), ratio=(1.0, 1.0), flip=0, jitter=1, brightness=0.9, contrast=0.9, saturation=0, hue=0, grey=0
    )
    one, _ = two_views(batch, settings, torch.Generator().manual_seed(0))
    share = ((one.mean(dim=(1, 2, 3)) - 0.5).abs() < 1e-6).double().mean()
    assert abs(share - 3 / 8) < 4 * (15 / 64 / 4000) ** 0.5


def test_size_of_blur():
    assert [blur_size(side) for side in (8, 28, 64, 96)] == [3, 3, 7, 9]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"flip": 1.5}, "flip"),
        ({"blur": (0.0, -1.0)}, "blur.1"),
        ({"area": (0.5, 0.2)}, "area"),
        ({"ratio": (0.0, 1.0)}, "ratio"),
        ({"hue": 0.6}, "hue"),
        ({"contrast": -1}, "contrast"),
    ],
)
def test_settings_out_of_range(wrong, named):
    with pytest.raises(ValueError, match=named):
        ViewSettings(**wrong)
