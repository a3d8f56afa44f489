"""Batches of images with masks: current ones, then remembered ones, each with its own augmentation."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from myosotis.continual.segmentation.learner import SegmentationBatch
from myosotis.continual.segmentation.memory import Exemplar
from myosotis.data.images import to_unit
from myosotis.data.masks import IGNORE, Decoded, MaskedImages
from myosotis.engine.processes import share, to_device
from myosotis.engine.seeding import generator

_READERS = 4  # threads


@dataclass(frozen=True)
class DenseAugmentation:
    """Augmentation of images together with their masks.

    Attributes:
        scale: Range of the random factor of both sides; None does not scale.
        crop: Height and width of the random crop; pixels outside the image are black and ignored.
        flip: Whether images are mirrored with probability one half.
    """

    scale: tuple[float, float] | None = None
    crop: tuple[int, int] | None = None
    flip: bool = False

    def __call__(
        self,
        image: UInt8[Tensor, "channels height width"],
        mask: UInt8[Tensor, "height width"],
        stream: torch.Generator,
    ) -> tuple[Float[Tensor, "channels h w"], UInt8[Tensor, "h w"]]:
        """Return image and mask after the same augmentation.

        Args:
            image: Image in bytes.
            mask: Mask of the same size.
            stream: Generator of the random numbers.
        """
        pixels = to_unit(image)
        if self.scale is not None:
            low, high = self.scale
            factor = low + (high - low) * float(torch.rand((), generator=stream))
            size = [max(1, round(side * factor)) for side in mask.shape]
            pixels = functional.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0]
            mask = functional.interpolate(mask[None, None], size=size, mode="nearest-exact")[0, 0]
        if self.crop is not None:
            tall, wide = (max(0, target - side) for target, side in zip(self.crop, mask.shape, strict=True))
            pixels = functional.pad(pixels, (0, wide, 0, tall))
            mask = functional.pad(mask, (0, wide, 0, tall), value=IGNORE)
            top, left = (
                int(torch.randint(side - target + 1, (1,), generator=stream))
                for target, side in zip(self.crop, mask.shape, strict=True)
            )
            window = (slice(top, top + self.crop[0]), slice(left, left + self.crop[1]))
            pixels, mask = pixels[:, window[0], window[1]], mask[window]
        if self.flip and bool(torch.rand((), generator=stream) < 0.5):
            pixels, mask = pixels.flip(-1), mask.flip(-1)
        return pixels, mask


class SegmentationBatches:
    """An endless stream of batches; a batch depends only on the seed and its number.

    Args:
        images: All training images.
        current: Indices of the images of the task.
        table: Table from the values of their masks to channels.
        labelled: Channels that their masks label.
        channels: Number of channels.
        memory: Remembered images; half of every batch, if there are any.
        size: Images per batch, over all processes.
        augmentation: Augmentation of each image.
        seed: Seed of order and augmentation.
        device: Device of the batches.
    """

    def __init__(
        self,
        images: MaskedImages,
        current: Int[Tensor, " n"],
        table: UInt8[Tensor, "256"],
        labelled: Sequence[int],
        channels: int,
        memory: Sequence[Exemplar],
        size: int,
        augmentation: DenseAugmentation,
        seed: int,
        device: torch.device,
    ) -> None:
        self._images, self._current, self._table = images, current, table
        self._labelled, self._channels = tuple(labelled), channels
        self._memory = list(memory)
        self.n_remembered = size // 2 if self._memory else 0
        self.n_current = size - self.n_remembered
        self._augmentation, self._seed, self._device = augmentation, seed, device
        self._orders: dict[tuple[str, int], list[int]] = {}

    @property
    def per_epoch(self) -> int:
        """Number of batches that hold every current image once."""
        return -(-len(self._current) // self.n_current)

    def __call__(self, start: int, stop: int) -> Iterator[SegmentationBatch]:
        """Yield the batches from ``start`` to ``stop``; the next is read in the background."""
        with ThreadPoolExecutor(_READERS) as pool, ThreadPoolExecutor(1) as ahead:
            lazy = isinstance(self._images.images, Decoded)
            pending = [
                ahead.submit(self._batch, number, pool) if lazy else None
                for number in range(start, min(start + 1, stop))
            ]
            for number in range(start, stop):
                batch: Any = pending.pop() if pending else None
                if lazy and number + 1 < stop:
                    pending.append(ahead.submit(self._batch, number + 1, pool))
                yield self._batch(number, None) if batch is None else batch.result()

    def _batch(self, number: int, pool: ThreadPoolExecutor | None) -> SegmentationBatch:
        rank, world = share()
        current = self._drawn("current", len(self._current), number * self.n_current, self.n_current)[rank::world]
        remembered = self._drawn("memory", len(self._memory), number * self.n_remembered, self.n_remembered)
        jobs = [("current", *drawn) for drawn in current] + [("memory", *drawn) for drawn in remembered[rank::world]]
        read = (
            [self._sample(*job) for job in jobs]
            if pool is None
            else list(pool.map(lambda job: self._sample(*job), jobs))
        )
        images, targets, rows = zip(*read, strict=True)
        labelled = torch.zeros(len(rows), self._channels, dtype=torch.bool)
        for row, channels in enumerate(rows):
            labelled[row, list(channels)] = True
        return SegmentationBatch(
            to_device(torch.stack(images), self._device),
            to_device(torch.stack(targets).long(), self._device),
            labelled,
            len(current),
        )

    def _sample(self, kind: str, row: int, serial: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        if kind == "current":
            index = int(self._current[row])
            mask, labelled = self._table[self._images.masks[index].long()], self._labelled
        else:
            exemplar = self._memory[row]
            index, mask, labelled = exemplar.index, exemplar.mask, exemplar.labelled
        stream = generator(self._seed, "augment", kind, serial)
        image, target = self._augmentation(self._images.images[index], mask, stream)
        return image, target, labelled

    def _drawn(self, kind: str, count: int, start: int, size: int) -> list[tuple[int, int]]:
        """Entries ``start`` to ``start + size`` of consecutive permutations, and their serial numbers."""
        drawn = []
        for serial in range(start, start + size):
            turn, position = divmod(serial, count)
            if (kind, turn) not in self._orders:
                self._orders = {
                    key: order for key, order in self._orders.items() if key[0] != kind or key[1] >= turn - 1
                }
                order = torch.randperm(count, generator=generator(self._seed, kind, turn)).tolist()
                self._orders[kind, turn] = order
            drawn.append((self._orders[kind, turn][position], serial))
        return drawn


def plain_batches(
    images: MaskedImages, indices: Sequence[int], table: UInt8[Tensor, "256"], size: int, device: torch.device
) -> Iterator[tuple[Float[Tensor, "n channels h w"], Int[Tensor, "n h w"]]]:
    """Yield images without augmentation and their translated masks; the images of a batch have equal sizes.

    Args:
        images: Images with masks.
        indices: Indices of the images, in order.
        table: Table from the values of masks to channels.
        size: Largest number of images per batch.
        device: Device of the batches.
    """
    if not indices:
        return
    ends = [0]
    for row in range(1, len(indices)):
        if images.sizes[indices[row]] != images.sizes[indices[row - 1]] or row - ends[-1] == size:
            ends.append(row)
    for start, stop in pairwise([*ends, len(indices)]):
        chunk = indices[start:stop]
        pixels = to_unit(torch.stack([images.images[index] for index in chunk]))
        masks = torch.stack([images.masks[index] for index in chunk])
        yield pixels.to(device), table[masks.long()].long().to(device)
