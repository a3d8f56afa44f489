"""The contexts that a network learns from noisy symbols: each once with its counts, or every symbol by itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from myosotis.denoising.channel import Symbols
from myosotis.denoising.context_keys import field_keys
from myosotis.denoising.contexts import Context, Field, Indices, Pad, make_field
from myosotis.denoising.passes import Passes
from myosotis.engine.seeding import derive_seed, generator

_DEDUPLICATE = 0.3
_MAX_SAMPLES = 1 << 23
_PARTS, _SMALLEST = 128, 1 << 16
"""Parts in which contexts are looked at, and the smallest of them: keys take many times the memory of symbols."""


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
    counts: NDArray[np.int32] | None
    symbols: Symbols | None

    @property
    def total(self) -> int:
        """Number of symbols."""
        return len(self.field) if self.counts is None else int(self.counts.sum())

    def windows(self, indices: Indices) -> Tensor:
        """Return contexts, (contexts, size)."""
        return torch.from_numpy(self.field.windows(indices))

    def weights(self, indices: Indices) -> Tensor:
        """Return the symbols in contexts: one-hot, or the share of each symbol; all counts where all are asked for."""
        if self.counts is None:
            assert self.symbols is not None  # noqa: S101 - there is one or the other
            return one_hot(torch.from_numpy(self.symbols[indices].astype(np.int64)), self.alphabet)
        if len(indices) == len(self.counts):
            return torch.from_numpy(self.counts).double()
        counts = torch.from_numpy(self.counts[indices]).double()
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
    chosen: Indices | None = None,
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
    flat = np.ascontiguousarray(noisy).ravel()
    count = noisy.size if chosen is None else len(chosen)
    if count > _MAX_SAMPLES:
        draws = np.random.default_rng(derive_seed(seed, "sample"))
        sample = sorted_sample(count, _MAX_SAMPLES, draws)
        chosen = sample if chosen is None else chosen[sample]
    field = make_field(noisy, context, alphabet, lengths=lengths, pad=pad, chosen=chosen)
    symbols = flat if chosen is None else flat[chosen]
    known = _known_keys(field, alphabet)
    if known is None:
        return ContextSamples(field, alphabet, None, symbols)
    first = np.full(len(known), -1, dtype=np.int64)
    counts = np.zeros((len(known), alphabet), dtype=np.int32)
    for part in _parts(len(field)):
        keys, index, inverse = np.unique(field_keys(field.part(part), alphabet), return_index=True, return_inverse=True)
        numbers = np.asarray(np.searchsorted(known, keys))
        new = first[numbers] < 0
        first[numbers[new]] = part.start + index[new]
        np.add.at(counts.reshape(-1), numbers[inverse.ravel()] * alphabet + symbols[part].astype(np.int64), np.int32(1))
    return ContextSamples(field.part(first), alphabet, counts, None)


def sorted_sample(count: int, size: int, draws: np.random.Generator) -> Indices:
    """Return ``size`` of the numbers below ``count`` in order, each set of them as likely as any other.

    It takes a byte for each number, where ``Generator.choice`` without replacement shuffles eight.
    """
    fewer = min(size, count - size)
    marked = np.zeros(count, dtype=np.bool_)
    while missing := fewer - np.count_nonzero(marked):
        marked[draws.integers(count, size=missing)] = True
    return indices_where(marked, fewer == size)


def indices_where(values: NDArray[Any], value: int) -> Indices:
    """Return the indices where an array has a value; made in parts, in four bytes each where they fit."""
    kind = np.int32 if len(values) < 1 << 31 else np.int64
    parts = [(part.start + np.flatnonzero(values[part] == value)).astype(kind) for part in _parts(len(values))]
    return np.concatenate([np.empty(0, dtype=kind), *parts])


def _known_keys(field: Field, alphabet: int) -> NDArray[np.generic] | None:
    """The different keys of contexts in order; None where too many differ for counting to pay."""
    known = np.empty(0, dtype=field_keys(field.part(slice(0, 0)), alphabet).dtype)
    for part in _parts(len(field)):
        keys = np.unique(field_keys(field.part(part), alphabet))
        at = np.asarray(np.searchsorted(known, keys))
        new = at == len(known)
        new[~new] = known[at[~new]] != keys[~new]
        if (len(known) + np.count_nonzero(new)) / len(field) >= _DEDUPLICATE:
            return None
        known = np.insert(known, at[new], keys[new])
    return known


def _parts(count: int) -> Iterator[slice]:
    size = max(_SMALLEST, -(-count // _PARTS))
    return (slice(begin, min(count, begin + size)) for begin in range(0, count, size))


def one_hot(values: Tensor, count: int) -> Tensor:
    """Return one-hot rows in single precision."""
    return torch.nn.functional.one_hot(values, count).float()
