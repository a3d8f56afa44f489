"""The denoisers by the name that a command gives them, and what the command line and the report need of a result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch

from myosotis.denoising.baselines import median
from myosotis.denoising.channel import Channel, Symbols
from myosotis.denoising.channel_estimation import estimate_channel
from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.counting import LARGEST_TABLE, dude_in_context
from myosotis.denoising.mappings import head_estimate
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import ADAPT, FINE_TUNE, Passes
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard

Method = Literal["as_seen", "median", "dude", "dude_loo", "neural", "supervised", "adaptive"]

_DUDE = (
    "Weissman, Ordentlich, Seroussi, Verdú, Weinberger: Universal Discrete Denoising: Known Channel, IEEE "
    "Transactions on Information Theory, 2005"
)
_NEURAL = "Moon, Min, Lee, Yoon: Neural Universal Discrete Denoiser, NIPS 2016"
_SUPERVISED = (
    "Cha, Min, Yoon, Moon: Supervised Neural Discrete Universal Denoiser for Adaptive Denoising, arXiv 2111.12350, 2021"
)

METHODS: Mapping[str, MethodCard] = MappingProxyType(
    {
        card.name: card
        for card in (
            MethodCard("as_seen", "As seen", "-", "nothing", "nothing", "The reference: what the noise left."),
            MethodCard(
                "median", "Median filter", "-", "noisy symbols", "nothing", "The reference for bits that hang together."
            ),
            MethodCard(
                "dude",
                "DUDE",
                _DUDE,
                "noisy symbols, the channel",
                "a count for each context and symbol",
                "The first choice where contexts occur often: fast, and nothing to train.",
            ),
            MethodCard(
                "dude_loo",
                "DUDE that leaves each symbol out of its own counts",
                _DUDE,
                "noisy symbols, the channel",
                "as DUDE",
                "Where contexts are rare, as in many copies of one sequence; its estimate can be trusted.",
            ),
            MethodCard(
                "neural",
                "Neural DUDE",
                _NEURAL,
                "noisy symbols, the channel",
                "a small network",
                "Contexts that are too large to be counted; needs many symbols.",
            ),
            MethodCard(
                "supervised",
                "A model as it was trained, without adapting it",
                _SUPERVISED,
                "noisy symbols, the channel; clean ones in training",
                "a small network",
                "Where the noise is that of the training; a control for the next one.",
            ),
            MethodCard(
                "adaptive",
                "Supervised Neural DUDE: a trained model, adapted to the noisy symbols",
                _SUPERVISED,
                "noisy symbols, the channel; clean ones in training",
                "a small network",
                "Clean data of the same kind and a noise that may differ from that of the training.",
            ),
        )
    }
)
"""Every method's card by its name."""

LINE_CANDIDATES = tuple(Context1d(k) for k in range(1, 8))
PLANE_CANDIDATES = tuple(Context2d(n) for n in (4, 6, 8, 10, 12, 16, 20, 24))
"""Contexts that DUDE chooses from."""

_NEURAL_LINE, _NEURAL_PLANE = Context1d(10), Context2d(24)
_MANY_CONTEXTS = 0.3
_FEW_SYMBOLS = 100_000
_MANY_SYMBOLS = 1 << 24


@dataclass(frozen=True)
class DenoiseResult:
    """What a denoiser made of symbols.

    Attributes:
        symbols: As they came, denoised.
        method: What did it.
        context: Its context; None where it has none.
        chosen: Estimated losses of the contexts that it was chosen from; empty where it was given.
        channel: The noise, given or found.
        before: Estimated loss of the symbols as they came.
        after: Estimated loss of the denoised ones; None where no honest estimate can be made.
        warnings: What a reader should know, a sentence each.
    """

    symbols: Symbols
    method: Method
    context: Context | None
    chosen: dict[Context, float]
    channel: Channel
    before: float
    after: float | None
    warnings: list[str]


def denoise(
    noisy: Symbols,
    channel: Channel,
    method: Method,
    *,
    context: Context | None = None,
    model: NeuralDenoiser | None = None,
    unknown: bool = False,
    symmetric: bool = False,
    passes: Passes | None = None,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> DenoiseResult:
    """Denoise by any method.

    Args:
        noisy: Along a line or on a plane.
        channel: The noise, or the first guess of it.
        method: See :data:`METHODS`.
        context: Chosen by the estimated loss unless given; networks without a model take one of fixed size.
        model: For ``"supervised"`` and ``"adaptive"``.
        unknown: Find the channel first, see :func:`~.channel_estimation.estimate_channel`.
        symmetric: Among symmetric channels alone.
        passes: Of networks.
        lengths: Of sequences that stand one after another.
        seed: Of networks.
        device: Of networks that are made here.

    Raises:
        SettingsError: Something does not fit.
    """
    if (model is None) == (method in ("supervised", "adaptive")):
        raise SettingsError(f"method '{method}' " + ("needs a model" if model is None else "takes no model"))
    if model is not None:
        if type(model.context) is not type(_NEURAL_LINE if noisy.ndim == 1 else _NEURAL_PLANE):
            raise SettingsError(
                "the model was trained for symbols " + ("on a plane" if noisy.ndim == 1 else "along a line")
            )
        if context is not None:
            raise SettingsError("the context is the model's; leave it out")
        if model.symbols != channel.outputs:
            raise SettingsError(f"the model was trained for {model.symbols} symbols, there are {channel.outputs}")
        context = model.context
    if context is not None and method in ("as_seen", "median") and not unknown:
        raise SettingsError(f"method '{method}' has no context")
    if passes is not None and method not in ("neural", "adaptive") and not unknown:
        raise SettingsError(f"method '{method}' makes no passes over the symbols: leave 'epochs' out")
    warnings: list[str] = []
    shape = context or (_NEURAL_LINE if noisy.ndim == 1 else _NEURAL_PLANE)
    if unknown:
        # What a posterior believes is found more surely than what a choice of mappings says.
        asked = model or NeuralDenoiser(channel.outputs, shape, head="posterior", seed=seed, device=device)
        channel = estimate_channel(asked, noisy, channel, passes=passes, lengths=lengths, symmetric=symmetric).channel
        warnings.append("The channel was estimated, which fails where every context is certain of its symbol.")
    before = _kept(noisy, channel)
    if method == "as_seen":
        return DenoiseResult(noisy.copy(), method, None, {}, channel, before, before, warnings)
    if method == "median":
        if channel.outputs > 2:
            raise SettingsError("a median is of bits; these are symbols without an order")
        return DenoiseResult(median(noisy), method, None, {}, channel, before, None, warnings)
    if method in ("dude", "dude_loo"):
        return _counted(noisy, channel, method, context, lengths, before, warnings)
    network = model or NeuralDenoiser(channel.outputs, shape, seed=seed, device=device)
    if method == "supervised":
        found = network.denoise(noisy, channel, lengths=lengths)
        after = network.optimistic_estimate(noisy, channel, lengths=lengths)
        return DenoiseResult(found, method, network.context, {}, channel, before, after, warnings)
    if channel.outputs > 2 and noisy.size < _FEW_SYMBOLS:
        warnings.append(f"{noisy.size:,} symbols are few to adapt a network to with {channel.outputs} of them.")
    settings = passes or (FINE_TUNE if network.pretrained else ADAPT)
    after = network.estimated_loss(noisy, channel, passes=settings, lengths=lengths)
    found = network.adapt(noisy, channel, passes=settings, lengths=lengths).denoise(noisy, channel, lengths=lengths)
    return DenoiseResult(found, method, network.context, {}, channel, before, after, warnings)


def _counted(
    noisy: Symbols,
    channel: Channel,
    method: Method,
    context: Context | None,
    lengths: Sequence[int] | None,
    before: float,
    warnings: list[str],
) -> DenoiseResult:
    chosen: dict[Context, float] = {}
    out = method == "dude_loo"
    if context is None:
        candidates: Sequence[Context] = LINE_CANDIDATES if noisy.ndim == 1 else PLANE_CANDIDATES
        longest = noisy.size if lengths is None else max(lengths)
        fitting = [one for one in candidates if not isinstance(one, Context1d) or one.size < longest]
        if noisy.size > _MANY_SYMBOLS:
            # More contexts than a table holds would have to be sorted, in more memory than there may be.
            tables = [one for one in fitting if channel.outputs ** (one.size + 1) <= LARGEST_TABLE]
            fitting = tables or fitting[:1]
        if not fitting:
            raise SettingsError(f"the longest sequence has {longest} symbols, too few for any context")
        context, chosen = select_context(noisy, channel, fitting, leave_one_out=out, lengths=lengths)
    found = dude_in_context(noisy, channel, context, leave_one_out=out, unbiased=True, lengths=lengths)
    if found.contexts > _MANY_CONTEXTS * noisy.size:
        warnings.append(f"{found.contexts:,} contexts of {noisy.size:,} symbols are too many to count on; take fewer.")
    return DenoiseResult(found.symbols, method, context, chosen, channel, before, found.estimated_loss, warnings)


def _kept(noisy: Symbols, channel: Channel) -> float:
    """The estimated loss of leaving everything as it is."""
    if channel.inputs != channel.outputs:
        raise SettingsError("a channel with more noisy symbols than clean ones cannot keep what it sees")
    parts, every = head_estimate(channel), np.arange(channel.outputs)
    losses = parts[:, every, every].sum(axis=1)
    # Counted symbol by symbol: a table of losses would be eight times the size of the symbols.
    return float(sum(losses[a] * np.count_nonzero(noisy == a) for a in every.tolist()) / noisy.size)


def passes_of(method: Method, epochs: int | None) -> Passes | None:
    """Return the default passes of a method with another number of them; None for the default."""
    if epochs is None:
        return None
    return replace(FINE_TUNE if method == "adaptive" else ADAPT, epochs=epochs)
