"""Scenes with exact masks, composed of small pictures of single things, so that several classes share an image."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.data.images import ImageSet
from myosotis.data.masks import MaskedImages, resident
from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import generator

_THRESHOLD = 0.12  # of the brightest value: what is darker is not the thing
_ODDS = (0.4, 0.3, 0.2, 0.1)  # of 1 to 4 things
_GRID = 2  # slots along each side: things do not cover each other


def make_scenes(items: ImageSet, count: int, *, side: int = 48, seed: int = 0, purpose: str = "train") -> MaskedImages:
    """Compose grey scenes: one to four things on a textured background, each in a slot of its own.

    A thing is the part of its picture that is brighter than 12 % of white; it is scaled to at least two thirds of a
    slot's side and put at random into the slot. A scene depends on seed, purpose and its number alone.

    Args:
        items: Pictures of one channel, bright on black, e.g. Fashion-MNIST.
        count: Number of scenes.
        side: Side in pixels, at least 16.
        seed: Seed of every choice.
        purpose: Name of the set; sets with different names differ.

    Raises:
        SettingsError: The pictures have several channels, or a number is out of range.

    Example:
        >>> pictures = torch.zeros(2, 1, 8, 8).byte()
        >>> pictures[:, :, 2:6, 2:6] = 200
        >>> scenes = make_scenes(ImageSet(pictures, torch.tensor([0, 1]), ("a", "b"), ("cup", "hat")), 3)
        >>> scenes.images[0].shape, scenes.names[2]
        (torch.Size([1, 48, 48]), 'train-000002')
    """
    if items.images.shape[1] != 1:
        raise SettingsError(f"scenes need images of one channel, got {items.images.shape[1]}")
    if count < 1 or side < 16:
        raise SettingsError(f"expected at least one scene and 16 pixels, got {count} and {side}")
    images, masks = [], []
    for number in range(count):
        stream = generator(seed, "scene", purpose, number)
        canvas = _texture(side, stream)
        mask = torch.zeros(side, side, dtype=torch.uint8)
        things = int(torch.multinomial(torch.tensor(_ODDS), 1, generator=stream)) + 1
        for slot in torch.randperm(_GRID**2, generator=stream)[:things].tolist():
            _put(items, canvas, mask, slot, stream)
        images.append((canvas * 255).round().clamp(0, 255).byte().unsqueeze(0))
        masks.append(mask)
    return resident(images, masks, [f"{purpose}-{number:06d}" for number in range(count)], items.classes)


def _texture(side: int, stream: torch.Generator) -> Float[Tensor, "side side"]:
    """Coarse and fine noise around a middle grey."""
    coarse = torch.rand(1, 1, 4, 4, generator=stream)
    smooth = functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    return 0.15 + 0.35 * smooth + 0.15 * torch.rand(side, side, generator=stream)


def _put(items: ImageSet, canvas: Tensor, mask: Tensor, slot: int, stream: torch.Generator) -> None:
    slot_side = len(canvas) // _GRID
    side = int(torch.randint(2 * slot_side // 3, slot_side + 1, (1,), generator=stream))
    index = int(torch.randint(len(items), (1,), generator=stream))
    picture = items.images[index : index + 1].float() / 255
    small = functional.interpolate(picture, size=(side, side), mode="area")[0, 0]
    top, left = (
        slot_start * slot_side + int(torch.randint(slot_side - side + 1, (1,), generator=stream))
        for slot_start in divmod(slot, _GRID)
    )
    region = (slice(top, top + side), slice(left, left + side))
    thing = small > _THRESHOLD
    canvas[region] = torch.where(thing, small, canvas[region])
    mask[region] = torch.where(thing, torch.tensor(int(items.labels[index]) + 1, dtype=torch.uint8), mask[region])
