"""Passes over symbols: how many, how fast, and their batches."""

import math
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from myosotis.denoising.contexts import Indices
from myosotis.engine.config import Config


class Passes(Config):
    """Number and speed of the passes over the symbols.

    Attributes:
        epochs: Passes over the symbols.
        learning_rate: Learning rate of Adam.
        batch_size: Contexts per step.
        limit: Symbols of a pass, drawn anew for each; None: all of them.
    """

    renamed: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 1e-3
    batch_size: PositiveInt = 512
    limit: PositiveInt | None = None

    def steps(self, symbols: int) -> int:
        """Return the number of steps of a pass over so many symbols."""
        return math.ceil(min(symbols, self.limit or symbols) / self.batch_size)

    def shuffled(self, count: int, stream: torch.Generator) -> Iterator[Indices]:
        """Return the batches of a pass that takes each of ``count`` samples once."""
        # The same order in half of the memory, where 31 bits hold it.
        kind = torch.int32 if count < 1 << 31 else torch.int64
        order = torch.randperm(count, generator=stream, dtype=kind).numpy()
        if self.limit is not None:
            order = order[: self.limit]
        for begin in range(0, len(order), self.batch_size):
            yield order[begin : begin + self.batch_size]

    def drawn(self, counts: NDArray[np.int32], stream: torch.Generator) -> Iterator[Indices]:
        """Return as many batches of contexts as all symbols would make: all at once, or drawn as often as they occur.

        Args:
            counts: Symbols in each context, (contexts, symbols).
            stream: Randomness.
        """
        ends = torch.from_numpy(counts.sum(axis=1, dtype=np.float64)).cumsum(dim=0)
        for _ in range(self.steps(int(ends[-1]))):
            if len(counts) <= self.batch_size:
                yield np.arange(len(counts))
                continue
            at = torch.rand(self.batch_size, generator=stream, dtype=torch.float64) * ends[-1]
            yield torch.searchsorted(ends, at, right=True).clamp(max=len(counts) - 1).numpy()


class CleanPasses(Passes):
    """Passes over clean symbols."""

    epochs: PositiveInt = 6


PRETRAIN = CleanPasses()
ADAPT = Passes(epochs=10)
FINE_TUNE = Passes(epochs=5, learning_rate=3e-4)
"""Defaults for learning with clean symbols, from noisy ones alone, and from noisy ones after clean ones."""
