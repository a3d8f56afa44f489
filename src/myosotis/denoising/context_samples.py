"""The contexts that a network learns from noisy symbols: each once with its counts, or every symbol by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosotis.denoising.channel import Symbols
from myosotis.denoising.context_keys import field_keys
from myosotis.denoising.contexts import Context, Field, Pad, make_field
from myosotis.denoising.passes import Indices, Passes
from myosotis.engine.seeding import derive_seed, generator

_DEDUPLICATE = 0.3
_MOST_SAMPLES = 1 << 23


@dataclass(frozen=True)
class ContextSamples:
    """Contexts that a network learns.

    Attributes:
        field: The contexts.
        alphabet: Size of the alphabet.
        counts: Symbols in each context, (contexts, symbols); None where every symbol stands by itself.
        symbols: The symbol in each context; None where symbols are counted.
    """

    field: Field
    alphabet: int
    counts: Tensor | None
    symbols: Tensor | None

    @property
    def total(self) -> int:
        """Number of symbols."""
        return len(self.field.positions) if self.counts is None else round(self.counts.sum().item())

    def windows(self, indices: Indices) -> Tensor:
        """Return contexts, (contexts, size)."""
        return torch.from_numpy(self.field.windows(indices))

    def weights(self, indices: Indices) -> Tensor:
        """Return the symbols in contexts: one-hot, or the share of each symbol; all counts where all are asked for."""
        if self.counts is None:
            assert self.symbols is not None  # noqa: S101 - there is one or the other
            return one_hot(self.symbols[indices], self.alphabet)
        if len(indices) == len(self.counts):
            return self.counts
        counts = self.counts[indices]
        return counts / counts.sum(dim=1, keepdim=True)

    def batches(self, epoch: int, passes: Passes, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the contexts and the weights of their symbols, batch by batch."""
        stream = generator(seed, "adapt", epoch)
        batches = passes.shuffled(self.total, stream) if self.counts is None else passes.drawn(self.counts, stream)
        for indices in batches:
            yield self.windows(indices), self.weights(indices)


def context_samples(
    noisy: Symbols,
    context: Context,
    alphabet: int,
    *,
    lengths: Sequence[int] | None = None,
    pad: Pad = "outside",
    chosen: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> ContextSamples:
    """Return the contexts of noisy symbols; of more than eight million a sample.

    Args:
        noisy: Sequences or a plane.
        context: Shape of the context.
        alphabet: Size of the alphabet.
        lengths: Lengths of sequences that stand one after another.
        pad: What a context has beyond the edge.
        chosen: Indices of the symbols to learn from; all of them unless given.
        seed: Seed of the sample.
    """
    count = noisy.size if chosen is None else len(chosen)
    if count > _MOST_SAMPLES:
        draws = np.random.default_rng(derive_seed(seed, "sample"))
        sample = np.sort(draws.choice(count, _MOST_SAMPLES, replace=False))
        indices = sample if chosen is None else chosen[sample]
    else:
        indices = np.arange(count) if chosen is None else chosen
    # Of the chosen ones alone: positions and keys take many times the memory of the symbols.
    field = make_field(noisy, context, alphabet, lengths=lengths, pad=pad, chosen=indices)
    symbols = np.ascontiguousarray(noisy).ravel()[indices].astype(np.int64)
    _, first, inverse = np.unique(field_keys(field, alphabet), return_index=True, return_inverse=True)
    if len(first) / len(indices) >= _DEDUPLICATE:
        return ContextSamples(field, alphabet, None, torch.from_numpy(symbols))
    joint = inverse.ravel().astype(np.int64) * alphabet + symbols
    counts = np.bincount(joint, minlength=len(first) * alphabet).astype(np.float64)
    return ContextSamples(field.part(first), alphabet, torch.from_numpy(counts).view(-1, alphabet), None)


def one_hot(values: Tensor, count: int) -> Tensor:
    """Return one-hot rows in single precision."""
    return torch.nn.functional.one_hot(values, count).float()
