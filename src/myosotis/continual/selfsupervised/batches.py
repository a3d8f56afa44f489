"""Batches of two views, of current samples and of remembered ones."""

from collections.abc import Iterator

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.continual.selfsupervised.contrast import Pair
from myosotis.continual.selfsupervised.learner import SslBatch
from myosotis.data.views import ViewSettings, two_views
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share, to_device
from myosotis.engine.seeding import derive_seed, generator


class ViewBatches:
    """A task's batches, epoch by epoch: order, choice and views depend on the seed and the epoch alone.

    The last incomplete batch is dropped; samples are reshuffled every epoch.

    Args:
        images: Images of the whole data set.
        current: Indices of samples of the task.
        memory: Indices of remembered samples; may be empty.
        size: Current samples per batch, over all processes.
        memory_size: Remembered samples per batch, limited to their number.
        again: Whether remembered samples may repeat within a batch, without that limit.
        views: Random views of an image.
        seed: Seed of order, selection and views.
        device: Device of views and batches.

    Raises:
        SettingsError: The task has fewer samples than a batch.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "n channels height width"],
        current: Int[Tensor, " k"],
        memory: Int[Tensor, " m"],
        *,
        size: int,
        memory_size: int,
        again: bool = False,
        views: ViewSettings,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self._images, self._current, self._memory = images, current, memory
        self._views, self._seed, self._device = views, seed, torch.device(device)
        self._rank, self._world = share()
        self.size = size - size % self._world
        limited = memory_size if again else min(memory_size, len(memory))
        self.memory_size = (limited - limited % self._world) if len(memory) else 0
        if len(current) < size or not self.size:
            raise SettingsError(f"a task of {len(current)} images is smaller than a batch of {size}")
        self.steps = len(current) // self.size

    def __call__(self, epoch: int) -> Iterator[SslBatch]:
        """Return this process's part of the batches of an epoch."""
        order = self._current[torch.randperm(len(self._current), generator=generator(self._seed, "order", epoch))]
        draw = generator(self._seed, "memory", epoch)
        waiting = torch.empty(0, dtype=torch.long)
        for step in range(self.steps):
            samples = self._own(order[step * self.size : (step + 1) * self.size])
            stream = torch.Generator().manual_seed(derive_seed(self._seed, "views", epoch, step, self._rank))
            views = self._both(samples, stream)
            remembered, memory_views = torch.empty(0, dtype=torch.long), None
            if self.memory_size:
                while len(waiting) < self.memory_size:
                    round_ = self._memory[torch.randperm(len(self._memory), generator=draw)]
                    waiting = torch.cat([waiting, round_])
                remembered, waiting = self._own(waiting[: self.memory_size]), waiting[self.memory_size :]
                memory_views = self._both(remembered, stream)
            yield SslBatch(views, samples, memory_views, remembered, derive_seed(self._seed, "batch", epoch, step))

    def _own(self, indices: Tensor) -> Tensor:
        return indices[self._rank :: self._world]

    def _both(self, indices: Tensor, stream: torch.Generator) -> Pair:
        images = to_device(self._images[to_device(indices, self._images.device)], self._device)
        return two_views(images, self._views, stream)
