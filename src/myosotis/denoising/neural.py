"""Neural DUDE, with and without supervised pre-training.

Moon, Min, Lee, Yoon: Neural Universal Discrete Denoiser (NIPS 2016); Ahn, Moon: Iterative Channel Estimation for
Discrete Denoising under Channel Uncertainty (arXiv 1902.08921); Cha, Min, Yoon, Moon: Supervised Neural Discrete
Universal Denoiser for Adaptive Denoising (arXiv 2111.12350).
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from myosotis.denoising.channel import Channel, Numbers, Symbols, check_symbols
from myosotis.denoising.clean_samples import CleanBatch, CleanSamples, SupervisedLoss, check_channel
from myosotis.denoising.context_samples import context_samples, indices_where
from myosotis.denoising.contexts import Context, Indices, Pad, pieces
from myosotis.denoising.counted_rules import LossSum, loss_sum
from myosotis.denoising.heads import HEADS, FactorisedHead, Head, HeadName, default_head, mixed_supervised
from myosotis.denoising.mappings import head_estimate
from myosotis.denoising.network import ContextNetwork
from myosotis.denoising.passes import ADAPT, FINE_TUNE, PRETRAIN, Passes
from myosotis.denoising.training_noise import TrainingNoise
from myosotis.engine.errors import SettingsError
from myosotis.engine.loop import train
from myosotis.engine.processes import to_device
from myosotis.engine.progress import progress
from myosotis.engine.seeding import derive_seed, seeded

_INFERENCE = 1 << 15
_BLOCK = 64
_TILE = 16


class NeuralDenoiser:
    """A denoiser whose rules for all contexts share the weights of one network.

    The network reads the context of a symbol and not the symbol, so that learning from noisy symbols alone does not
    teach it to repeat them. ``pretrain`` changes this denoiser; ``adapt`` leaves it and returns another one.

    Args:
        symbols: Size of the alphabet.
        context: Shape of the context.
        head: Meaning of the logits, see :mod:`myosotis.denoising.heads`; ``"mapping"`` for bits and ``"posterior"`` for
            more symbols unless given.
        loss: (clean, reconstructed); Hamming's unless given.
        hidden: Width of the hidden layers.
        layers: Hidden layers.
        pad: What a context has beyond the edge.
        seed: Seed of weights, of the order of symbols and of noise that is added for training.
        device: Device of the network.

    Example:
        >>> from myosotis.denoising.contexts import Context1d
        >>> draws = np.random.default_rng(0)
        >>> clean = np.repeat(draws.integers(0, 2, 100), 40)
        >>> channel = Channel.binary_symmetric(0.1)
        >>> noisy = channel.corrupt(clean, draws)
        >>> denoiser = NeuralDenoiser(2, Context1d(4), hidden=16, layers=2)
        >>> adapted = denoiser.adapt(noisy, channel, passes=Passes(epochs=20, learning_rate=1e-2))
        >>> denoised = adapted.denoise(noisy, channel)
        >>> bool((denoised != clean).mean() < 0.5 * (noisy != clean).mean())
        True
    """

    def __init__(
        self,
        symbols: int,
        context: Context,
        *,
        head: HeadName | None = None,
        loss: Numbers | None = None,
        hidden: int = 64,
        layers: int = 4,
        pad: Pad = "outside",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.symbols, self.context, self.pad, self.seed = symbols, context, pad, seed
        self.head: HeadName = default_head(symbols) if head is None else head
        if self.head not in HEADS:
            raise SettingsError(f"unknown head '{head}'; known: {', '.join(HEADS)}")
        self.loss = loss
        self.hidden, self.layers = hidden, layers
        self.device = torch.device(device)
        self.pretrained = False
        with seeded(derive_seed(seed, "weights")):
            outputs = HEADS[self.head].width(symbols)
            self.network = ContextNetwork(context.size, symbols, outputs, hidden=hidden, layers=layers)
        self.network.to(self.device)

    # Learning -------------------------------------------------------------------------------------------------------

    def pretrain(
        self,
        clean: Sequence[Symbols] | Sequence[tuple[Symbols, Symbols]],
        channel: TrainingNoise,
        *,
        passes: Passes = PRETRAIN,
        lengths: Sequence[Sequence[int] | None] | None = None,
        checkpoints: Path | None = None,
        log: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> "NeuralDenoiser":
        """Learn from clean symbols: ``channel`` adds fresh noise in every pass.

        Args:
            clean: Sequences or planes; or pairs of clean and noisy ones, to which nothing is added.
            channel: The noise. A channel matches that of the data to come or does not; where it is drawn anew each time
                (see :func:`~.training_noise.blind`) the denoiser becomes one for many.
            passes: Length of the training.
            lengths: Lengths of sequences that stand one after another, for each of ``clean``.
            checkpoints: Directory of the training state; a later call continues from there.
            log: Receives the mean loss of every pass.

        Returns:
            This denoiser.

        Raises:
            SettingsError: There is nothing to learn from, or a symbol is outside the alphabet.
        """
        pairs = [sample if isinstance(sample, tuple) else (sample, None) for sample in clean]
        cuts: Sequence[Sequence[int] | None] = [None] * len(pairs) if lengths is None else lengths
        samples = CleanSamples(pairs, cuts, self.context, self.symbols, self.pad)
        supervised = partial(self._supervised, drawn=not isinstance(channel, Channel))

        def batches(epoch: int) -> Iterator[CleanBatch]:
            return samples.batches(epoch, passes, self.seed, channel, supervised)

        def loss(net: nn.Module, batch: CleanBatch, _: int) -> Mapping[str, Tensor]:
            losses, windows, weights = batch
            values = losses(net(to_device(windows, self.device))).flatten(1)
            return {"supervised": (values * to_device(weights.to(values.dtype), self.device)).sum() / passes.batch_size}

        self._learn(batches, loss, passes, samples.total, "pre-training", checkpoints, log)
        self.pretrained = True
        return self

    def adapt(
        self,
        noisy: Symbols,
        channel: Channel,
        *,
        passes: Passes | None = None,
        lengths: Sequence[int] | None = None,
        chosen: Indices | None = None,
    ) -> "NeuralDenoiser":
        """Return a copy that has learnt from noisy symbols alone.

        Without pre-training this is Neural DUDE; with it, supervised Neural DUDE. Where contexts occur often, each is
        learnt with the counts of all symbols that stand in it, which are less noisy labels than single symbols.

        Args:
            noisy: Sequences or a plane.
            channel: The noise that they went through.
            passes: Length of the training; :data:`~.passes.FINE_TUNE` after pre-training, :data:`~.passes.ADAPT`
                without.
            lengths: Lengths of sequences that stand one after another.
            chosen: Indices of the symbols to learn from; all of them unless given. Of more than eight million a sample
                is taken.

        Raises:
            SettingsError: A symbol is outside the alphabet, or the channel has other symbols.
        """
        self._check(noisy, channel)
        settings = passes if passes is not None else FINE_TUNE if self.pretrained else ADAPT
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        head = other._head(channel)
        samples = context_samples(
            noisy, self.context, self.symbols, lengths=lengths, pad=self.pad, chosen=chosen, seed=self.seed
        )

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            return samples.batches(epoch, settings, self.seed)

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor], _: int) -> Mapping[str, Tensor]:
            windows, counts = (to_device(part, other.device) for part in batch)
            values = head.adaptive(net(windows))
            return {"adaptive": (values * counts.to(values.dtype)).sum() / counts.sum().to(values.dtype)}

        other._learn(batches, loss, settings, samples.total, "adapting")
        return other

    # Use ------------------------------------------------------------------------------------------------------------

    def denoise(self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None) -> Symbols:
        """Return denoised symbols, of the shape and the type of the noisy ones.

        Args:
            noisy: Sequences or a plane.
            channel: The noise that they went through.
            lengths: Lengths of sequences that stand one after another.
        """
        self._check(noisy, channel)
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        denoised = np.empty_like(flat)
        for begin, end, logits in self.logits(noisy, lengths):
            rules = head.decisions(logits).cpu().numpy()
            denoised[begin:end] = rules[np.arange(end - begin), flat[begin:end]]
        return denoised.reshape(noisy.shape)

    def optimistic_estimate(self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None) -> float:
        """Return the estimated loss of this denoiser on symbols, which is too low where it has learnt from them."""
        return self.estimate(noisy, channel, lengths=lengths)[0]

    def estimate(
        self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None
    ) -> tuple[float, float | None]:
        """Return :meth:`optimistic_estimate`, and the standard error of what it says was gained."""
        return self._mean(self._estimate(noisy, channel, lengths), noisy, channel)

    def estimated_loss(
        self,
        noisy: Symbols,
        channel: Channel,
        *,
        passes: Passes | None = None,
        lengths: Sequence[int] | None = None,
    ) -> float:
        """Return the estimated loss on symbols after adapting this denoiser to them, from noisy symbols alone.

        Two copies learn from half of the symbols each, and are judged by the other half: blocks of a sequence or tiles
        of a plane in turn. It may be below 0 where hardly an error is left.

        Raises:
            SettingsError: There is a single symbol.
        """
        return self.cross_fitted_estimate(noisy, channel, passes=passes, lengths=lengths)[0]

    def cross_fitted_estimate(
        self,
        noisy: Symbols,
        channel: Channel,
        *,
        passes: Passes | None = None,
        lengths: Sequence[int] | None = None,
    ) -> tuple[float, float | None]:
        """Return :meth:`estimated_loss`, and the standard error of what it says was gained.

        Raises:
            SettingsError: There is a single symbol.
        """
        halves = alternating_halves(noisy, lengths)
        total = LossSum()
        for half in (0, 1):
            other = self.adapt(noisy, channel, passes=passes, lengths=lengths, chosen=indices_where(halves, half))
            total += other._estimate(noisy, channel, lengths, halves != half)
        return self._mean(total, noisy, channel)

    def held_beliefs(
        self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None, symmetric: bool = False
    ) -> Channel:
        """Return the channel that posteriors imply.

        Row x is the sum of gamma[x] over the symbols where each z is seen, divided by its total. With ``symmetric``
        the symmetric channel with as many wrong symbols.

        Raises:
            SettingsError: It is no channel that can be inverted.
        """
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        table = np.zeros((self.symbols, self.symbols))
        for begin, end, logits in self.logits(noisy, lengths):
            gamma = head.posterior(logits).cpu().double().numpy()
            symbols = flat[begin:end]
            own = gamma[np.arange(end - begin), symbols]
            for x in range(self.symbols):
                table[x] += np.bincount(symbols, weights=own[:, x], minlength=self.symbols)
        if symmetric:
            return Channel.symmetric(self.symbols, float(1 - np.trace(table) / table.sum()))
        return Channel(table / table.sum(axis=1, keepdims=True))

    def logits(self, noisy: Symbols, lengths: Sequence[int] | None = None) -> Iterator[tuple[int, int, Tensor]]:
        """Return the logits of the context of every symbol: first and last index of a piece, and (symbols, width)."""
        self.network.eval()
        with progress("looking at every symbol", noisy.size) as ticker:
            for begin, end, field in pieces(noisy, self.context, self.symbols, lengths=lengths, pad=self.pad):
                for low in range(0, end - begin, _INFERENCE):
                    high = min(end - begin, low + _INFERENCE)
                    windows = torch.from_numpy(field.windows(slice(low, high)))
                    with torch.no_grad():
                        yield begin + low, begin + high, self.network(windows.to(self.device))
                    ticker.advance(high - low)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _head(self, channel: Channel) -> Head:
        check_channel(channel, self.symbols)
        return HEADS[self.head](channel, self.loss)

    def _supervised(self, channels: Sequence[Channel], *, drawn: bool) -> SupervisedLoss:
        if self.head == "factorised" and drawn:
            # The one head whose labels depend on the channel.
            return partial(mixed_supervised, [FactorisedHead(channel, self.loss) for channel in channels])
        head = self._head(channels[0])
        return lambda _, logits: head.supervised(logits)

    def _check(self, noisy: Symbols, channel: Channel) -> None:
        self._head(channel)
        check_symbols(noisy, self.symbols)

    def _learn(
        self,
        batches: Any,
        loss: Any,
        passes: Passes,
        symbols: int,
        description: str,
        checkpoints: Path | None = None,
        log: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        losses: list[Tensor] = []

        def noted(net: nn.Module, batch: Any, step: int) -> Mapping[str, Tensor]:
            terms: Mapping[str, Tensor] = loss(net, batch, step)
            losses.extend(term.detach() for term in terms.values())
            return terms

        def after_pass(epoch: int, step: int) -> None:
            assert log is not None  # noqa: S101 - only called then
            log({"phase": "learn", "epoch": epoch, "step": step, "loss": torch.stack(losses).mean().item()})
            losses.clear()

        optimizer = torch.optim.Adam(self.network.parameters(), lr=passes.learning_rate)
        self.network.train()
        train(
            self.network,
            optimizer,
            batches,
            loss if log is None else noted,
            epochs=passes.epochs,
            steps_per_epoch=passes.steps(symbols),
            after_epoch=None if log is None else after_pass,
            shared=False,
            checkpoints=checkpoints,
            description=description,
        )
        self.network.eval()

    def _estimate(
        self,
        noisy: Symbols,
        channel: Channel,
        lengths: Sequence[int] | None,
        judged: NDArray[np.bool_] | None = None,
    ) -> LossSum:
        """The sum of the estimated losses ``sum_w H[z, w, s(w)]`` of the mapping s of each symbol's context.

        Args:
            noisy: Sequences or a plane.
            channel: The noise.
            lengths: Lengths of sequences.
            judged: Whether each symbol is judged; all of them unless given.
        """
        self._check(noisy, channel)
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        parts = head_estimate(channel, self.loss)
        total, every = LossSum(), np.arange(self.symbols)
        for begin, end, logits in self.logits(noisy, lengths):
            rules, symbols = head.decisions(logits).cpu().numpy(), flat[begin:end].astype(np.int64)
            losses = parts[symbols[:, None], every[None, :], rules].sum(axis=1)
            changed = rules[np.arange(end - begin), symbols] != symbols
            some = slice(None) if judged is None else judged[begin:end]
            total += loss_sum(losses[some], symbols[some], changed[some], parts)
        return total

    def _mean(self, loss: LossSum, noisy: Symbols, channel: Channel) -> tuple[float, float | None]:
        """The mean of the losses, and its standard error."""
        error = loss.standard_error(noisy.size, head_estimate(channel, self.loss), self.loss)
        return loss.total / noisy.size, error


def alternating_halves(noisy: Symbols, lengths: Sequence[int] | None = None) -> NDArray[np.int8]:
    """Return the half, 0 or 1, of each symbol for cross-fitting.

    Every second sequence where there are several; else blocks of a line or tiles of a plane in turn, smaller where
    there would be only one.

    Raises:
        SettingsError: There is a single symbol.
    """
    if noisy.size < 2:
        raise SettingsError("a network is judged by symbols that it has not learnt from: one symbol is too few")
    if noisy.ndim == 1 and lengths is not None and np.count_nonzero(lengths) > 1:
        halves = np.zeros(len(lengths), dtype=np.int8)
        halves[np.flatnonzero(lengths)[1::2]] = 1
        return np.repeat(halves, lengths)
    if noisy.ndim == 1:
        return _alternating(len(noisy), _BLOCK if len(noisy) > _BLOCK else len(noisy) // 2)
    tile = _TILE if max(noisy.shape) > _TILE else max(noisy.shape) // 2
    rows, columns = (_alternating(side, tile) for side in noisy.shape)
    return (rows[:, None] ^ columns).ravel()


def _alternating(count: int, size: int) -> NDArray[np.int8]:
    """Zeros and ones in turn, ``size`` of each."""
    return np.resize(np.repeat(np.array([0, 1], dtype=np.int8), size), count)
