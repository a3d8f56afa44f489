"""Batches of images for pre-training, cropped and mirrored at random."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from myosotis.data.images import to_unit
from myosotis.data.views import draw_boxes, resized_crop
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share, to_device
from myosotis.engine.seeding import derive_seed, generator

_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class ImageBatch:
    """A batch of images.

    Attributes:
        images: Pixels in [0, 1], on the device.
        seed: Seed of the masks.
    """

    images: Float[Tensor, "batch channels height width"]
    seed: int


class ImageBatches:
    """Batches, epoch by epoch: order, crops and masks depend on the seed, the epoch and the process alone.

    The last incomplete batch is dropped; images are reshuffled every epoch.

    Args:
        images: All training images.
        size: Images in a batch, over all processes.
        area: Share of an image that is cropped, and scaled to its size.
        flip: Probability of mirroring.
        seed: Seed of order, crops and masks.
        device: Device of batches, where images are cropped, too.

    Raises:
        SettingsError: There are fewer images than a batch, or the batch is not a multiple of the processes.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n channels height width"],
        *,
        size: int,
        area: tuple[float, float],
        flip: float,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._rank, self._world = share()
        if size % self._world:
            raise SettingsError(f"a batch of {size} is not a multiple of the {self._world} processes")
        if len(images) < size:
            raise SettingsError(f"{len(images)} images are fewer than a batch of {size}")
        self._images, self._size, self._area, self._flip = images, size, area, flip
        self._seed, self._device = seed, torch.device(device)
        self.steps = len(images) // size

    def __call__(self, epoch: int) -> Iterator[ImageBatch]:
        """Return this process's part of the batches of an epoch."""
        order = torch.randperm(len(self._images), generator=generator(self._seed, "order", epoch))
        size = self._images.shape[2:]
        for step in range(self.steps):
            indices = order[step * self._size : (step + 1) * self._size][self._rank :: self._world]
            stream = generator(self._seed, "crops", epoch, step, self._rank)
            boxes = draw_boxes(len(indices), (size[0], size[1]), self._area, _RATIO, stream)
            mirrored = torch.rand(len(indices), generator=stream) < self._flip
            images = to_unit(to_device(self._images[to_device(indices, self._images.device)], self._device))
            if self._area != (1.0, 1.0) or self._flip:
                images = resized_crop(images, boxes, mirrored)
            yield ImageBatch(images, derive_seed(self._seed, "masks", epoch, step, self._rank))
