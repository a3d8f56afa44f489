"""Batches of current and remembered samples, drawn from images that stay bytes until they are needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.continual.classification.learner import Batch
from myosotis.data.augmentation import crop_and_flip
from myosotis.data.images import to_unit
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share
from myosotis.engine.seeding import derive_seed, generator


@dataclass(frozen=True)
class Augmentation:
    """How images are varied, each on its own.

    Attributes:
        padding: Pixels by which an image is shifted at most.
        flip: Whether it is mirrored with probability one half.
    """

    padding: int = 0
    flip: bool = False


class ReplayBatches:
    """Batches by epoch, current samples first in each.

    They depend on the seed and the epoch alone. Without ``memory_size`` current and remembered samples are shuffled
    together, each once in an epoch. With it, every batch has that many remembered samples, drawn in rounds, and an
    epoch passes once over the current ones. What does not fill a batch at the end of an epoch is left for another
    epoch's order.

    Args:
        images: All of them.
        labels: Theirs.
        current: Places of samples of the task.
        memory: Places of remembered samples; or a function to them, asked before each batch.
        size: Samples in a batch, over all processes.
        memory_size: How many of them are remembered ones.
        augmentation: Of the images.
        seed: Of order, choice and augmentation.
        device: Where batches go.

    Raises:
        SettingsError: There is no sample, or not one for each process, or no room beside the remembered ones.
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
            raise SettingsError("there is nothing to learn from")
        some = callable(memory) or len(memory) > 0
        self._memory_size = memory_size if some else None
        if callable(memory) and memory_size is None:
            raise SettingsError("a memory that fills while training needs a fixed number of its samples in each batch")
        if self._memory_size is None:
            pool = len(current) + (0 if callable(memory) else len(memory))
            wanted = min(size, pool)
            self.size = self._current_size = wanted - wanted % self._world
            self.steps = pool // self.size if self.size else 0
        else:
            self._current_size = min(size - self._memory_size, len(current))
            self._current_size -= self._current_size % self._world
            self.size = self._current_size + self._memory_size
            self.steps = len(current) // self._current_size if self._current_size > 0 else 0
        if self._current_size < 1 or self.steps < 1:
            raise SettingsError(
                f"a batch of {size} with {memory_size or 0} remembered samples leaves none of {len(current)} current "
                f"ones for each of {self._world} processes"
            )

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """Return this process's part of the batches of an epoch."""
        order = generator(self._seed, "order", epoch)
        mixed = self._mixed(order) if self._memory_size is None else self._apart(order, self._memory_size, epoch)
        for step, (places, n_current) in enumerate(mixed):
            batch = self._images[places.to(self._images.device)].to(self._device)
            if self._augmentation.padding or self._augmentation.flip:
                stream = torch.Generator().manual_seed(derive_seed(self._seed, "augmentation", epoch, step))
                batch = crop_and_flip(batch, stream, padding=self._augmentation.padding, flip=self._augmentation.flip)
            own, ours = self._own(len(places), n_current)
            yield Batch(
                to_unit(batch[own.to(batch.device)]),
                self._labels[places[own]].to(self._device),
                places[own],
                ours,
            )

    def _own(self, count: int, n_current: int) -> tuple[Tensor, int]:
        """Which samples of a batch are this process's, and how many of them are current."""
        every = torch.arange(count)
        if self._memory_size is None:
            own = every[self._rank :: self._world]
            return own, int((own < n_current).sum())
        # Whole runs of both kinds: synchronised task-balanced layers then split them as one process would.
        parts = [part.tensor_split(self._world)[self._rank] for part in (every[:n_current], every[n_current:])]
        return torch.cat(parts), len(parts[0])

    def _mixed(self, order: torch.Generator) -> Iterator[tuple[Tensor, int]]:
        """All together."""
        memory = self._memory() if callable(self._memory) else self._memory
        # By place, so that who counts as current does not change the order.
        pool, where = torch.cat([self._current, memory]).sort()
        is_current = where < len(self._current)
        shuffled = torch.randperm(len(pool), generator=order)
        for step in range(self.steps):
            drawn = shuffled[step * self.size : (step + 1) * self.size]
            ours = is_current[drawn]
            yield torch.cat([pool[drawn[ours]], pool[drawn[~ours]]]), int(ours.sum())

    def _apart(self, order: torch.Generator, count: int, epoch: int) -> Iterator[tuple[Tensor, int]]:
        """So many current ones and so many remembered ones."""
        draw = generator(self._seed, "memory", epoch)
        shuffled = self._current[torch.randperm(len(self._current), generator=order)]
        waiting = torch.empty(0, dtype=torch.long)
        for step in range(self.steps):
            ours = shuffled[step * self._current_size : (step + 1) * self._current_size]
            if callable(self._memory):
                places = self._memory()
                theirs = places[torch.randperm(len(places), generator=draw)[:count]]
            else:
                while len(waiting) < count:
                    again = self._memory[torch.randperm(len(self._memory), generator=draw)]
                    waiting = torch.cat([waiting, again])
                theirs, waiting = waiting[:count], waiting[count:]
            yield torch.cat([ours, theirs]), len(ours)
