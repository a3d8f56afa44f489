"""Tests of :mod:`myosotis.continual.segmentation.batches`."""

import torch

from myosotis.continual.segmentation.batches import DenseAugmentation


def test_a_batch_depends_on_its_number_alone(current):
    augmentation = DenseAugmentation((0.5, 2.0), (4, 4), flip=True)
    _, whole = current(augmentation=augmentation)
    _, late = current(start=3, augmentation=augmentation)
    for one, other in zip(whole[3:], late, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.target, other.target)


def test_every_image_comes_once_in_an_epoch(current, drawn_sets, make_images):
    made, batches = current(count=10, size=5, stop=2)
    assert made.per_epoch == 2
    images = make_images(drawn_sets(10)).images
    seen = sorted((one * 255).round().byte().flatten().tolist() for batch in batches for one in batch.images)
    assert seen == sorted(one.flatten().tolist() for one in images)


def test_image_and_mask_change_alike():
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:6, 1:5] = 1
    image = (mask * 200).unsqueeze(0)
    for seed in range(20):
        augmentation = DenseAugmentation((0.75, 1.5), (8, 8), flip=True)
        pixels, target = augmentation(image, mask, torch.Generator().manual_seed(seed))
        assert pixels.shape == (1, 8, 8)
        assert target.shape == (8, 8)
        # Bilinear edges are in between: they are not asked.
        assert (target[pixels[0] > 0.7] == 1).all()
        assert (target[pixels[0] < 0.05] != 1).all()
    pixels, target = DenseAugmentation(crop=(10, 9))(image, mask, torch.Generator())
    assert (target[8:] == 255).all()
    assert (target[:8, 8] == 255).all()
    assert torch.equal(target[:8, :8], mask)
    assert (pixels[0, 8:] == 0).all()
