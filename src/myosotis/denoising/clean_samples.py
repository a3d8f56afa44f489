"""The samples of training with clean symbols: in every pass noise is added to them, unless it is given."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from myosotis.denoising.channel import Channel, Symbols, check_symbols
from myosotis.denoising.context_samples import one_hot
from myosotis.denoising.contexts import Context, Field, Pad, Runs, make_field
from myosotis.denoising.passes import Passes
from myosotis.denoising.training_noise import TrainingNoise
from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed, generator

SupervisedLoss = Callable[[Tensor, Tensor], Tensor]
"""From the sequence of each context, and logits, to losses for each clean and noisy symbol."""
CleanBatch = tuple[Callable[[Tensor], Tensor], Tensor, Tensor]
"""From logits to losses, contexts, and one-hot pairs of clean and noisy symbols."""


@dataclass(frozen=True)
class CleanSamples:
    """Clean symbols to learn from.

    Attributes:
        pairs: Clean sequences or planes, each with its noisy version or None.
        cuts: Lengths of sequences that stand one after another in each of them, or None.
        context: Shape of the context.
        alphabet: Size of the alphabet.
        pad: What a context has beyond the edge.
    """

    pairs: Sequence[tuple[Symbols, Symbols | None]]
    cuts: Sequence[Sequence[int] | None]
    context: Context
    alphabet: int
    pad: Pad

    def __post_init__(self) -> None:
        if not len(self.pairs):
            raise SettingsError("no training symbols given")
        for clean, noisy in self.pairs:
            check_symbols(clean, self.alphabet)
            if noisy is not None:
                check_symbols(noisy, self.alphabet)
                if noisy.shape != clean.shape:
                    raise SettingsError(f"clean and noisy symbols differ in shape: {clean.shape} and {noisy.shape}")

    @property
    def total(self) -> int:
        """Number of symbols."""
        return sum(clean.size for clean, _ in self.pairs)

    def batches(
        self,
        epoch: int,
        passes: Passes,
        seed: int,
        noise: TrainingNoise,
        supervised: Callable[[Sequence[Channel]], SupervisedLoss],
    ) -> Iterator[CleanBatch]:
        """Return the batches of a pass.

        Args:
            epoch: Number of the pass.
            passes: Length of the training.
            seed: Seed of noise and order.
            noise: The channel, or a function that draws one for each sequence.
            supervised: Function from the channels of all sequences to the loss.
        """
        draws = np.random.default_rng(derive_seed(seed, "noise", epoch))
        widest = max((clean.shape[1] for clean, _ in self.pairs if clean.ndim == 2), default=0)
        fields, answers, channels = [], [], []
        for (clean, given), lengths in zip(self.pairs, self.cuts, strict=True):
            channel = noise if isinstance(noise, Channel) else noise(draws)
            check_channel(channel, self.alphabet)
            noisy = channel.corrupt(clean, draws) if given is None else given
            fields.append(make_field(noisy, self.context, self.alphabet, lengths=lengths, pad=self.pad, width=widest))
            # At most 126 squared.
            answers.append(clean.ravel().astype(np.int16) * np.int16(self.alphabet) + noisy.ravel().astype(np.int16))
            channels.append(channel)
        joined, answer = _joined(fields), np.concatenate(answers)
        ends = np.cumsum([len(field) for field in fields])
        loss = supervised(channels)
        for indices in passes.shuffled(len(answer), generator(seed, "pretrain", epoch)):
            weights = one_hot(torch.from_numpy(answer[indices].astype(np.int64)), self.alphabet**2)
            sequence = torch.from_numpy(np.searchsorted(ends, indices, side="right"))
            yield partial(loss, sequence), torch.from_numpy(joined.windows(indices)), weights


def check_channel(channel: Channel, alphabet: int) -> None:
    """Raise ``SettingsError`` unless a channel has the symbols of a denoiser."""
    if channel.outputs != alphabet:
        raise SettingsError(f"the channel has {channel.outputs} symbols, the denoiser {alphabet}")


def _joined(fields: Sequence[Field]) -> Field:
    """Several fields with the same steps as one, of all of their symbols."""
    counts, sizes = [len(field) for field in fields], [len(field.padded) for field in fields]
    # Symbols and padded symbols that stand before each field.
    before, padded = (np.cumsum(numbers) - numbers for numbers in (counts, sizes))
    runs = [field.runs for field in fields]
    return Field(
        np.concatenate([field.padded for field in fields]),
        fields[0].steps,
        fields[0].outside,
        Runs(
            np.concatenate([run.ends + more for run, more in zip(runs, before, strict=True)]),
            np.concatenate([run.shifts + more for run, more in zip(runs, padded - before, strict=True)]),
            np.concatenate([run.first + more for run, more in zip(runs, before, strict=True)]),
            np.concatenate([run.last + more for run, more in zip(runs, before, strict=True)]),
        ),
        range(sum(counts)),
    )
