"""Neural DUDE, with and without supervised pre-training.

Moon, Min, Lee, Yoon: Neural Universal Discrete Denoiser (NIPS 2016); Ahn, Moon: Iterative Channel Estimation for
Discrete Denoising under Channel Uncertainty (arXiv 1902.08921); Cha, Min, Yoon, Moon: Supervised Neural Discrete
Universal Denoiser for Adaptive Denoising (arXiv 2111.12350).
"""

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from myosotis.denoising.channel import Channel, Numbers, Symbols, check_symbols
from myosotis.denoising.context_keys import field_keys
from myosotis.denoising.contexts import Context, Context1d, Context2d, Field, Pad, make_field, pieces
from myosotis.denoising.heads import HEADS, FactorisedHead, Head, HeadName, default_head, mixed_supervised
from myosotis.denoising.mappings import head_estimate
from myosotis.denoising.network import ContextNetwork
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_tensors
from myosotis.engine.loop import train
from myosotis.engine.progress import progress
from myosotis.engine.seeding import derive_seed, generator

_INFERENCE = 1 << 15
_DEDUPLICATE = 0.3
_BLOCK = 64
_TILE = 16
_MOST_LEARNT = 1 << 23

Draws = Channel | Callable[[np.random.Generator], Channel]
"""A channel, or where one is drawn anew for every sequence and pass."""

_Supervised = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Passes:
    """How long and how fast a network learns.

    Attributes:
        epochs: Passes over the symbols.
        learning_rate: Of Adam.
        batch: Contexts in a step.
        limit: Symbols of a pass, drawn anew for each; None: all of them.
    """

    epochs: int = 10
    learning_rate: float = 1e-3
    batch: int = 512
    limit: int | None = None


PRETRAIN = Passes(epochs=6)
ADAPT = Passes(epochs=10)
FINE_TUNE = Passes(epochs=5, learning_rate=3e-4)
"""Defaults for learning with clean symbols, from noisy ones alone, and from noisy ones after clean ones."""


def blind(low: float, high: float, symbols: int = 2) -> Callable[[np.random.Generator], Channel]:
    """Return symmetric channels with a rate drawn evenly between two.

    Example:
        >>> bool(0.05 <= blind(0.05, 0.25)(np.random.default_rng(0)).matrix[0, 1] <= 0.25)
        True
    """
    Channel.symmetric(symbols, low)
    Channel.symmetric(symbols, high)
    return lambda draws: Channel.symmetric(symbols, float(draws.uniform(low, high)))


class NeuralDenoiser:
    """A denoiser whose rules for all contexts share the weights of one network.

    The network sees the context of a symbol and not the symbol, so that what it learns from noisy symbols alone is not
    to repeat them. ``pretrain`` changes this denoiser; ``adapt`` leaves it and returns another one.

    Args:
        symbols: Of the alphabet.
        context: Its shape.
        head: What the network says, see :mod:`myosotis.denoising.heads`; ``"mapping"`` for bits and ``"posterior"`` for
            more symbols unless given.
        loss: (clean, reconstructed); Hamming's unless given.
        hidden: Width of the hidden layers.
        layers: Hidden layers.
        pad: What a context has beyond the edge.
        seed: Of weights, of the order of symbols and of noise that is added for training.
        device: Of the network.

    Example:
        >>> draws = np.random.default_rng(0)
        >>> clean = np.repeat(draws.integers(0, 2, 100), 40)
        >>> noisy = Channel.binary_symmetric(0.1).corrupt(clean, draws)
        >>> denoiser = NeuralDenoiser(2, Context1d(4), hidden=16, layers=2)
        >>> law, passes = Channel.binary_symmetric(0.1), Passes(epochs=20, learning_rate=1e-2)
        >>> found = denoiser.adapt(noisy, law, passes=passes).denoise(noisy, law)
        >>> bool((found != clean).mean() < 0.5 * (noisy != clean).mean())
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
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "weights"))
            outputs = HEADS[self.head].width(symbols)
            self.network = ContextNetwork(context.size, symbols, outputs, hidden=hidden, layers=layers)
        self.network.to(self.device)

    # Learning -------------------------------------------------------------------------------------------------------

    def pretrain(
        self,
        clean: Sequence[Symbols] | Sequence[tuple[Symbols, Symbols]],
        channel: Draws,
        *,
        passes: Passes = PRETRAIN,
        lengths: Sequence[Sequence[int] | None] | None = None,
        checkpoints: Path | None = None,
    ) -> "NeuralDenoiser":
        """Learn from clean symbols: ``channel`` adds fresh noise in every pass.

        Args:
            clean: Sequences or planes; or pairs of clean and noisy ones, to which nothing is added.
            channel: The noise. A channel matches that of the data to come or does not; where it is drawn anew each time
                (see :func:`blind`) the denoiser becomes one for many.
            passes: How long.
            lengths: For each sequence of several that stand one after another, see :func:`~.dude.dude`.
            checkpoints: Where the state is kept; a later call goes on from there.

        Returns:
            This denoiser.

        Raises:
            SettingsError: There is nothing to learn from, or a symbol is outside the alphabet.
        """
        if not len(clean):
            raise SettingsError("there is nothing to learn from")
        pairs = [one if isinstance(one, tuple) else (one, None) for one in clean]
        cuts: Sequence[Sequence[int] | None] = [None] * len(pairs) if lengths is None else lengths
        for one, noisy in pairs:
            check_symbols(one, self.symbols)
            if noisy is not None:
                check_symbols(noisy, self.symbols)
                if noisy.shape != one.shape:
                    raise SettingsError(f"clean and noisy symbols differ in shape: {one.shape} and {noisy.shape}")

        widest = max((one.shape[1] for one, _ in pairs if one.ndim == 2), default=0)

        def batches(epoch: int) -> Iterator[tuple[_Supervised, Tensor, Tensor]]:
            draws = np.random.default_rng(derive_seed(self.seed, "noise", epoch))
            fields, answers, laws = [], [], []
            for (one, seen), cut in zip(pairs, cuts, strict=True):
                law = channel if isinstance(channel, Channel) else channel(draws)
                self._fits(law)
                noisy = law.corrupt(one, draws) if seen is None else seen
                fields.append(make_field(noisy, self.context, self.symbols, lengths=cut, pad=self.pad, width=widest))
                answers.append(one.ravel().astype(np.int64) * self.symbols + noisy.ravel())
                laws.append(law)
            joined, answer = _joined(fields), torch.from_numpy(np.concatenate(answers))
            whose = torch.from_numpy(np.repeat(np.arange(len(fields)), [len(field.places) for field in fields]))
            supervised = self._supervised(laws, drawn=not isinstance(channel, Channel))
            for chosen in self._order(len(answer), epoch, passes, "pretrain"):
                weights = _one_hot(answer[chosen], self.symbols**2)
                yield partial(supervised, whose[chosen]), torch.from_numpy(joined.windows(chosen)), weights

        def loss(net: nn.Module, batch: tuple[_Supervised, Tensor, Tensor], _: int) -> Mapping[str, Tensor]:
            supervised, windows, weights = batch
            values = supervised(net(windows.to(self.device))).flatten(1)
            return {"supervised": (values * weights.to(values)).sum() / passes.batch}

        self._learn(batches, loss, passes, sum(one.size for one, _ in pairs), "pre-training", checkpoints)
        self.pretrained = True
        return self

    def adapt(
        self,
        noisy: Symbols,
        channel: Channel,
        *,
        passes: Passes | None = None,
        lengths: Sequence[int] | None = None,
        chosen: NDArray[np.int64] | None = None,
    ) -> "NeuralDenoiser":
        """Return a copy that has learnt from noisy symbols alone.

        Without pre-training this is Neural DUDE; with it, supervised Neural DUDE. Where contexts occur often, each is
        learnt with the counts of all symbols that stand in it, which are less noisy labels than single symbols.

        Args:
            noisy: Sequences or a plane.
            channel: The noise that they went through.
            passes: How long; :data:`FINE_TUNE` after pre-training, :data:`ADAPT` without.
            lengths: Of sequences that stand one after another.
            chosen: Places of the symbols that are learnt from; all of them unless given. Of more than eight million a
                sample is.

        Raises:
            SettingsError: A symbol is outside the alphabet, or the channel has other symbols.
        """
        self._check(noisy, channel)
        settings = passes if passes is not None else FINE_TUNE if self.pretrained else ADAPT
        other = self._copy()
        head = other._head(channel)
        learnt = self._contexts(noisy, lengths, chosen)
        total = learnt.symbols

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            if learnt.counts is None:
                for some in other._order(total, epoch, settings, "adapt"):
                    yield learnt.windows(some), learnt.single(some, self.symbols)
                return
            for some in other._drawn(learnt.counts, epoch, settings):
                whole = len(some) == len(learnt.counts)
                yield learnt.windows(some), learnt.counts if whole else _unit(learnt.counts[some])

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor], _: int) -> Mapping[str, Tensor]:
            values = head.adaptive(net(batch[0].to(other.device)))
            return {"adaptive": (values * batch[1].to(values)).sum() / batch[1].sum().to(values)}

        other._learn(batches, loss, settings, total, "adapting")
        return other

    # Use ------------------------------------------------------------------------------------------------------------

    def denoise(self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None) -> Symbols:
        """Return denoised symbols, of the shape and the type of what came in.

        Args:
            noisy: Sequences or a plane.
            channel: The noise that they went through.
            lengths: Of sequences that stand one after another.
        """
        self._check(noisy, channel)
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        found = np.empty_like(flat)
        for begin, end, logits in self._logits(noisy, lengths):
            rules = head.decisions(logits).cpu().numpy()
            found[begin:end] = rules[np.arange(end - begin), flat[begin:end]]
        return found.reshape(noisy.shape)

    def optimistic_estimate(self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None) -> float:
        """Return the estimated loss of this denoiser on symbols, which is too low where it has learnt from them."""
        return float(self._estimates(noisy, channel, lengths).mean())

    def estimated_loss(
        self,
        noisy: Symbols,
        channel: Channel,
        *,
        passes: Passes | None = None,
        lengths: Sequence[int] | None = None,
    ) -> float:
        """Return what adapting this denoiser to symbols is estimated to achieve on them, from noisy symbols alone.

        Two copies learn from half of the symbols each, and are judged by the other half: blocks of a sequence or tiles
        of a plane in turn. It may be below 0 where there is hardly an error left.
        """
        halves = self._halves(noisy, lengths)
        total = 0.0
        for mine in (0, 1):
            learnt, judged = np.flatnonzero(halves == mine), np.flatnonzero(halves != mine)
            other = self.adapt(noisy, channel, passes=passes, lengths=lengths, chosen=learnt)
            total += float(other._estimates(noisy, channel, lengths)[judged].sum())
        return total / noisy.size

    def held_beliefs(
        self, noisy: Symbols, channel: Channel, *, lengths: Sequence[int] | None = None, symmetric: bool = False
    ) -> Channel:
        """Return the channel that posteriors say: row x is the sum of gamma[x] where each z is seen, by its whole sum.

        With ``symmetric`` the symmetric channel with as many wrong symbols.

        Raises:
            SettingsError: It is no channel that can be inverted.
        """
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        table = np.zeros((self.symbols, self.symbols))
        for begin, end, logits in self._logits(noisy, lengths):
            gamma = head.posterior(logits).double().cpu().numpy()
            seen = flat[begin:end]
            own = gamma[np.arange(end - begin), seen]
            for x in range(self.symbols):
                table[x] += np.bincount(seen, weights=own[:, x], minlength=self.symbols)
        if symmetric:
            return Channel.symmetric(self.symbols, float(1 - np.trace(table) / table.sum()))
        return Channel(table / table.sum(axis=1, keepdims=True))

    # Files ----------------------------------------------------------------------------------------------------------

    def save(self, path: Path, notes: Mapping[str, Any] | None = None) -> None:
        """Write the denoiser into one safetensors file, what it is made of into its metadata.

        Args:
            path: The file.
            notes: Kept beside, ready for JSON: names of symbols, how it was trained.
        """
        if self.loss is not None:
            raise SettingsError("a denoiser with a loss of its own cannot be kept in a file")
        context = {"half_width": self.context.half_width} if isinstance(self.context, Context1d) else {}
        context |= {"neighbours": self.context.neighbours} if isinstance(self.context, Context2d) else {}
        description = {
            "kind": _KIND,
            "symbols": self.symbols,
            "context": context,
            "head": self.head,
            "hidden": self.hidden,
            "layers": self.layers,
            "pad": self.pad,
            "seed": self.seed,
            "pretrained": self.pretrained,
            "notes": dict(notes or {}),
        }
        weights = {name: value.cpu().contiguous() for name, value in self.network.state_dict().items()}
        write_tensors(path, weights, {"myosotis": json.dumps(description)})

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> tuple["NeuralDenoiser", dict[str, Any]]:
        """Read what :meth:`save` wrote.

        Returns:
            The denoiser and its notes.

        Raises:
            InputError: The file is missing, damaged, or something else.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such model file")
        try:
            with safe_open(path, "pt") as content:
                description = json.loads((content.metadata() or {})["myosotis"])
                weights = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - not a mapping
            if description["kind"] != _KIND:
                raise KeyError("kind")
            shape = description["context"]
            context: Context = (
                Context1d(shape["half_width"]) if "half_width" in shape else Context2d(shape["neighbours"])
            )
            found = cls(
                int(description["symbols"]),
                context,
                head=description["head"],
                hidden=int(description["hidden"]),
                layers=int(description["layers"]),
                pad=description["pad"],
                seed=int(description["seed"]),
                device=device,
            )
            found.network.load_state_dict(weights)
            found.pretrained = bool(description["pretrained"])
            notes = dict(description["notes"])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError):
            raise InputError(f"{path}: is no model of a denoiser, or damaged") from None
        return found, notes

    # Inside ---------------------------------------------------------------------------------------------------------

    def _fits(self, channel: Channel) -> None:
        if channel.outputs != self.symbols:
            raise SettingsError(f"the channel has {channel.outputs} symbols, the denoiser {self.symbols}")

    def _head(self, channel: Channel) -> Head:
        self._fits(channel)
        return HEADS[self.head](channel, self.loss)

    def _supervised(self, laws: Sequence[Channel], *, drawn: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """From the sequence of each context, and logits, to losses for each clean and noisy symbol."""
        if self.head == "factorised" and drawn:
            # The one head whose labels depend on the channel.
            return partial(mixed_supervised, [FactorisedHead(law, self.loss) for law in laws])
        head = self._head(laws[0])
        return lambda _, logits: head.supervised(logits)

    def _check(self, noisy: Symbols, channel: Channel) -> None:
        self._head(channel)
        check_symbols(noisy, self.symbols)

    def _copy(self) -> "NeuralDenoiser":
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        return other

    def _order(self, count: int, epoch: int, passes: Passes, purpose: str) -> Iterator[NDArray[np.int64]]:
        order = torch.randperm(count, generator=generator(self.seed, purpose, epoch)).numpy()
        if passes.limit is not None:
            order = order[: passes.limit]
        for begin in range(0, len(order), passes.batch):
            yield order[begin : begin + passes.batch]

    def _drawn(self, counts: Tensor, epoch: int, passes: Passes) -> Iterator[NDArray[np.int64]]:
        """Contexts for as many steps as all symbols would make: all at once, or drawn as often as they occur."""
        weights, stream = counts.sum(dim=1).double(), generator(self.seed, "adapt", epoch)
        symbols = min(int(weights.sum()), passes.limit or int(weights.sum()))
        whole = np.arange(len(counts))
        ends = weights.cumsum(dim=0)
        for _ in range(math.ceil(symbols / passes.batch)):
            if len(counts) <= passes.batch:
                yield whole
                continue
            at = torch.rand(passes.batch, generator=stream, dtype=torch.float64) * ends[-1]
            yield torch.searchsorted(ends, at, right=True).clamp(max=len(counts) - 1).numpy()

    def _learn(
        self, batches: Any, loss: Any, passes: Passes, symbols: int, description: str, checkpoints: Path | None = None
    ) -> None:
        optimizer = torch.optim.Adam(self.network.parameters(), lr=passes.learning_rate)
        self.network.train()
        train(
            self.network,
            optimizer,
            batches,
            loss,
            epochs=passes.epochs,
            steps_per_epoch=math.ceil(min(symbols, passes.limit or symbols) / passes.batch),
            shared=False,
            checkpoints=checkpoints,
            description=description,
        )
        self.network.eval()

    def _contexts(self, noisy: Symbols, lengths: Sequence[int] | None, chosen: NDArray[np.int64] | None) -> "_Learnt":
        """Contexts to learn from, and the noisy symbols that stand in them."""
        count = noisy.size if chosen is None else len(chosen)
        if count > _MOST_LEARNT:
            draws = np.random.default_rng(derive_seed(self.seed, "sample"))
            sample = np.sort(draws.choice(count, _MOST_LEARNT, replace=False))
            places = sample if chosen is None else chosen[sample]
        else:
            places = np.arange(count) if chosen is None else chosen
        # Of the chosen ones alone: positions and keys take many times the memory of the symbols.
        field = make_field(noisy, self.context, self.symbols, lengths=lengths, pad=self.pad, chosen=places)
        seen = np.ascontiguousarray(noisy).ravel()[places].astype(np.int64)
        _, first, inverse = np.unique(field_keys(field, self.symbols), return_index=True, return_inverse=True)
        if len(first) / len(places) < _DEDUPLICATE:
            joint = inverse.ravel().astype(np.int64) * self.symbols + seen
            counts = np.bincount(joint, minlength=len(first) * self.symbols).astype(np.float64)
            return _Learnt(field.part(first), torch.from_numpy(counts).view(-1, self.symbols), None)
        return _Learnt(field, None, torch.from_numpy(seen))

    def _logits(self, noisy: Symbols, lengths: Sequence[int] | None) -> Iterator[tuple[int, int, Tensor]]:
        self.network.eval()
        with progress("looking at every symbol", noisy.size) as ticker:
            for begin, end, field in pieces(noisy, self.context, self.symbols, lengths=lengths, pad=self.pad):
                for low in range(0, end - begin, _INFERENCE):
                    high = min(end - begin, low + _INFERENCE)
                    windows = torch.from_numpy(field.windows(slice(low, high)))
                    with torch.no_grad():
                        yield begin + low, begin + high, self.network(windows.to(self.device))
                    ticker.advance(high - low)

    def _estimates(self, noisy: Symbols, channel: Channel, lengths: Sequence[int] | None) -> NDArray[np.float64]:
        """The estimated loss at each symbol: ``sum_w H[z, w, s(w)]`` of the mapping s of its context."""
        self._check(noisy, channel)
        head, flat = self._head(channel), np.ascontiguousarray(noisy).ravel()
        parts = head_estimate(channel, self.loss)
        found = np.empty(len(flat))
        every = np.arange(self.symbols)
        for begin, end, logits in self._logits(noisy, lengths):
            rules = head.decisions(logits).cpu().numpy()
            seen = flat[begin:end]
            found[begin:end] = parts[seen[:, None], every[None, :], rules].sum(axis=1)
        return found

    def _halves(self, noisy: Symbols, lengths: Sequence[int] | None) -> NDArray[np.int64]:
        """Every second sequence where there are several; else blocks of a line or tiles of a plane in turn."""
        if noisy.ndim == 1 and lengths is not None and len(lengths) > 1:
            return np.repeat(np.arange(len(lengths)) % 2, lengths)
        if noisy.ndim == 1:
            return np.asarray(np.arange(len(noisy)) // _BLOCK % 2)
        rows, columns = np.divmod(np.arange(noisy.size), noisy.shape[1])
        return np.asarray((rows // _TILE + columns // _TILE) % 2)


_KIND = "neural-denoiser"


@dataclass(frozen=True)
class _Learnt:
    """Contexts that are learnt: each once with its counts, or every symbol by itself."""

    field: Field
    counts: Tensor | None
    seen: Tensor | None

    @property
    def symbols(self) -> int:
        """How many symbols stand behind them."""
        return len(self.field.places) if self.counts is None else round(self.counts.sum().item())

    def windows(self, some: NDArray[np.int64]) -> Tensor:
        """Their contexts."""
        return torch.from_numpy(self.field.windows(some))

    def single(self, some: NDArray[np.int64], count: int) -> Tensor:
        """Their symbols, one-hot."""
        assert self.seen is not None  # noqa: S101 - there is one or the other
        return _one_hot(self.seen[some], count)


def _joined(fields: Sequence[Field]) -> Field:
    """Several fields with the same steps as one."""
    shifts = np.concatenate([[0], np.cumsum([len(field.padded) for field in fields])[:-1]])
    places = np.concatenate([field.places + shift for field, shift in zip(fields, shifts, strict=True)])
    return Field(
        np.concatenate([field.padded for field in fields]),
        places,
        fields[0].steps,
        np.concatenate([field.complete for field in fields]),
        fields[0].outside,
    )


def _unit(counts: Tensor) -> Tensor:
    return counts / counts.sum(dim=1, keepdim=True)


def _one_hot(values: Tensor, count: int) -> Tensor:
    return torch.nn.functional.one_hot(values, count).float()
