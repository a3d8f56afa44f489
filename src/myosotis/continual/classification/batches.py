"""Batches of current and remembered samples from images that are stored as bytes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.continual.classification.learner import Batch
from myosotis.data.augmentation import crop_and_flip
from myosotis.data.images import to_unit
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share, to_device
from myosotis.engine.seeding import derive_seed, generator


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation of each image.

    Attributes:
        padding: Largest shift in pixels.
        flip: Whether images are mirrored with probability one half.
    """

    padding: int = 0
    flip: bool = False


class ReplayBatches:
    """Batches by epoch, current samples first in each.

    They depend on the seed and the epoch alone. Without ``memory_size`` current and remembered samples are shuffled
    together, each once in an epoch. With it, every batch has that many remembered samples, drawn in rounds, and an
    epoch passes once over the current ones. The last incomplete batch is dropped; samples are reshuffled every epoch.

    Args:
        images: Images of the whole data set.
        labels: Labels of the whole data set.
        current: Indices of samples of the task.
        memory: Indices of remembered samples, or a function that returns them before each batch.
        size: Samples per batch, over all processes.
        memory_size: Remembered samples among them.
        augmentation: Augmentation of the images.
        seed: Seed of order, selection and augmentation.
        device: Device of the batches.

    Raises:
        SettingsError: There is no sample, fewer than processes, or a batch has no current samples.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n channels height width"],
        labels: Int[Tensor, " n"],
        current: Int[Tensor, " k"],
        memory: Int[Tensor, " m"] | Callable[[], Int[Tensor, " m"]],
        *,
        size: int,
        memory_size: int | None,
        augmentation: Augmentation,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._images, self._labels, self._device = images, labels, device
        self._current, self._memory = current, memory
        self._augmentation, self._seed = augmentation, seed
        self._rank, self._world = share()
        if not len(current):
            raise SettingsError("the task has no training samples")
        self._memory_size = memory_size if callable(memory) or len(memory) > 0 else None
        if callable(memory) and memory_size is None:
            raise SettingsError(
                "a memory that is filled during training needs a fixed number of its samples in each batch"
            )
        if self._memory_size is None:
            pool = len(current) + (0 if callable(memory) else len(memory))
            capped = min(size, pool)
            self.size = self._current_size = capped - capped % self._world
            self.steps = pool // self.size if self.size else 0
        else:
            self._current_size = min(size - self._memory_size, len(current))
            self._current_size -= self._current_size % self._world
            self.size = self._current_size + self._memory_size
            self.steps = len(current) // self._current_size if self._current_size > 0 else 0
        if self._current_size < 1 or self.steps < 1:
            raise SettingsError(
                f"a batch of {size} with {memory_size or 0} remembered samples leaves none of {len(current)} current "
                f"samples for each of {self._world} processes"
            )

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """Return this process's part of the batches of an epoch."""
        order = generator(self._seed, "order", epoch)
        mixed = self._mixed(order) if self._memory_size is None else self._separate(order, self._memory_size, epoch)
        for step, (indices, n_current) in enumerate(mixed):
            batch = to_device(self._images[to_device(indices, self._images.device)], self._device)
            if self._augmentation.padding or self._augmentation.flip:
                stream = torch.Generator().manual_seed(derive_seed(self._seed, "augmentation", epoch, step))
                batch = crop_and_flip(batch, stream, padding=self._augmentation.padding, flip=self._augmentation.flip)
            if self._world > 1:
                own, n_current = self._own(len(indices), n_current)
                batch, indices = batch[own.to(batch.device)], indices[own]
            yield Batch(to_unit(batch), to_device(self._labels[indices], self._device), indices, n_current)

    def _own(self, count: int, n_current: int) -> tuple[Tensor, int]:
        """Positions of this process's samples in a batch, and the number of current ones among them."""
        positions = torch.arange(count)
        if self._memory_size is None:
            own = positions[self._rank :: self._world]
            return own, int((own < n_current).sum())
        # Contiguous runs of both kinds: synchronised task-balanced layers then split them as a single process would.
        parts = [part.tensor_split(self._world)[self._rank] for part in (positions[:n_current], positions[n_current:])]
        return torch.cat(parts), len(parts[0])

    def _mixed(self, order: torch.Generator) -> Iterator[tuple[Tensor, int]]:
        """Current and remembered samples shuffled together."""
        memory = self._memory() if callable(self._memory) else self._memory
        # Sorted by index, so that the order does not depend on which samples are current.
        pool, positions = torch.cat([self._current, memory]).sort()
        is_current = positions < len(self._current)
        shuffled = torch.randperm(len(pool), generator=order)
        for step in range(self.steps):
            drawn = shuffled[step * self.size : (step + 1) * self.size]
            current = is_current[drawn]
            yield torch.cat([pool[drawn[current]], pool[drawn[~current]]]), int(current.sum())

    def _separate(self, order: torch.Generator, count: int, epoch: int) -> Iterator[tuple[Tensor, int]]:
        """Fixed numbers of current and of remembered samples."""
        draw = generator(self._seed, "memory", epoch)
        shuffled = self._current[torch.randperm(len(self._current), generator=order)]
        waiting = torch.empty(0, dtype=torch.long)
        for step in range(self.steps):
            current = shuffled[step * self._current_size : (step + 1) * self._current_size]
            if callable(self._memory):
                memory = self._memory()
                remembered = memory[torch.randperm(len(memory), generator=draw)[:count]]
            else:
                while len(waiting) < count:
                    round_ = self._memory[torch.randperm(len(self._memory), generator=draw)]
                    waiting = torch.cat([waiting, round_])
                remembered, waiting = waiting[:count], waiting[count:]
            yield torch.cat([current, remembered]), len(current)
