"""Batches of images with masks: current ones, then remembered ones, each scaled, cropped and mirrored by itself."""

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
from myosotis.engine.processes import share
from myosotis.engine.seeding import generator

_READERS = 4  # threads


@dataclass(frozen=True)
class DenseAugmentation:
    """How images and masks are changed alike.

    Attributes:
        scale: Range of the factor by which both sides are scaled; None leaves them.
        crop: Height and width of what is cut out, at random; what lies outside the image is black and ignored.
        flip: Whether half of the images are mirrored.
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
        """Return both, changed by the same draws.

        Args:
            image: Bytes.
            mask: Of the same size.
            stream: Of the draws.
        """
        pixels = to_unit(image)
        if self.scale is not None:
            low, high = self.scale
            factor = low + (high - low) * float(torch.rand((), generator=stream))
            size = [max(1, round(side * factor)) for side in mask.shape]
            pixels = functional.interpolate(pixels[None], size=size, mode="bilinear", align_corners=False)[0]
            mask = functional.interpolate(mask[None, None], size=size, mode="nearest-exact")[0, 0]
        if self.crop is not None:
            tall, wide = (max(0, want - have) for want, have in zip(self.crop, mask.shape, strict=True))
            pixels = functional.pad(pixels, (0, wide, 0, tall))
            mask = functional.pad(mask, (0, wide, 0, tall), value=IGNORE)
            top, left = (
                int(torch.randint(have - want + 1, (1,), generator=stream))
                for want, have in zip(self.crop, mask.shape, strict=True)
            )
            there = (slice(top, top + self.crop[0]), slice(left, left + self.crop[1]))
            pixels, mask = pixels[:, there[0], there[1]], mask[there]
        if self.flip and bool(torch.rand((), generator=stream) < 0.5):
            pixels, mask = pixels.flip(-1), mask.flip(-1)
        return pixels, mask


class SegmentationBatches:
    """An endless stream of batches that depends on the seed and on the number of a batch alone.

    Args:
        images: All training images.
        current: Places of the current ones.
        table: From the values of their masks to channels.
        labelled: Channels that their masks show.
        channels: How many there are.
        memory: Remembered images; they are half of every batch, if there are any.
        size: Images in a batch, over all processes.
        augmentation: Of each image.
        seed: Of order and augmentation.
        device: Where batches go.
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
        """Batches in which every current image is seen once."""
        return -(-len(self._current) // self.n_current)

    def __call__(self, start: int, stop: int) -> Iterator[SegmentationBatch]:
        """Yield the batches from ``start`` to ``stop``; the next is read while one is used."""
        with ThreadPoolExecutor(_READERS) as pool, ThreadPoolExecutor(1) as ahead:
            lazy = isinstance(self._images.images, Decoded)
            made = [
                ahead.submit(self._batch, number, pool) if lazy else None
                for number in range(start, min(start + 1, stop))
            ]
            for number in range(start, stop):
                waiting: Any = made.pop() if made else None
                if lazy and number + 1 < stop:
                    made.append(ahead.submit(self._batch, number + 1, pool))
                yield self._batch(number, None) if waiting is None else waiting.result()

    def _batch(self, number: int, pool: ThreadPoolExecutor | None) -> SegmentationBatch:
        place, world = share()
        current = self._drawn("current", len(self._current), number * self.n_current, self.n_current)[place::world]
        remembered = self._drawn("memory", len(self._memory), number * self.n_remembered, self.n_remembered)
        jobs = [("current", *one) for one in current] + [("memory", *one) for one in remembered[place::world]]
        read = [self._one(*job) for job in jobs] if pool is None else list(pool.map(lambda job: self._one(*job), jobs))
        images, targets, rows = zip(*read, strict=True)
        labelled = torch.zeros(len(rows), self._channels, dtype=torch.bool)
        for at, row in enumerate(rows):
            labelled[at, list(row)] = True
        return SegmentationBatch(
            torch.stack(images).to(self._device),
            torch.stack(targets).long().to(self._device),
            labelled.to(self._device),
            len(current),
        )

    def _one(self, kind: str, index: int, serial: int) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        if kind == "current":
            place = int(self._current[index])
            mask, labelled = self._table[self._images.masks[place].long()], self._labelled
        else:
            one = self._memory[index]
            place, mask, labelled = one.place, one.mask, one.labelled
        stream = generator(self._seed, "augment", kind, serial)
        image, target = self._augmentation(self._images.images[place], mask, stream)
        return image, target, labelled

    def _drawn(self, kind: str, count: int, start: int, size: int) -> list[tuple[int, int]]:
        """Samples ``start`` to ``start + size`` of permutations one after another, and their serial numbers."""
        found = []
        for serial in range(start, start + size):
            turn, index = divmod(serial, count)
            if (kind, turn) not in self._orders:
                self._orders = {key: one for key, one in self._orders.items() if key[0] != kind or key[1] >= turn - 1}
                order = torch.randperm(count, generator=generator(self._seed, kind, turn)).tolist()
                self._orders[kind, turn] = order
            found.append((self._orders[kind, turn][index], serial))
        return found


def plain_batches(
    images: MaskedImages, places: Sequence[int], table: UInt8[Tensor, "256"], size: int, device: torch.device
) -> Iterator[tuple[Float[Tensor, "n channels h w"], Int[Tensor, "n h w"]]]:
    """Yield images as they are and their masks through a table; images of one batch have one size.

    Args:
        images: Some.
        places: Which of them, in order.
        table: From the values of masks to channels.
        size: Images in a batch, at most.
        device: Where batches go.
    """
    if not places:
        return
    ends = [0]
    for at in range(1, len(places)):
        if images.sizes[places[at]] != images.sizes[places[at - 1]] or at - ends[-1] == size:
            ends.append(at)
    for start, stop in pairwise([*ends, len(places)]):
        some = places[start:stop]
        pixels = to_unit(torch.stack([images.images[place] for place in some]))
        masks = torch.stack([images.masks[place] for place in some])
        yield pixels.to(device), table[masks.long()].long().to(device)
