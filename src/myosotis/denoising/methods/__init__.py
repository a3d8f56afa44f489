"""The denoising methods, by the name that a command gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from myosotis.denoising.channel import Channel, Symbols
from myosotis.denoising.channel_estimation import estimate_channel
from myosotis.denoising.contexts import Context, Context1d
from myosotis.denoising.methods.as_seen import AsSeen
from myosotis.denoising.methods.dude import DUDE, LeaveOneOutDUDE
from myosotis.denoising.methods.median import MedianFilter
from myosotis.denoising.methods.method import DenoisingMethod, NoisyData
from myosotis.denoising.methods.neural import AdaptiveNeuralDUDE, NeuralDUDE, SupervisedNeuralDUDE
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import Passes
from myosotis.engine.errors import SettingsError
from myosotis.engine.registry import Registry

METHODS: Registry[DenoisingMethod] = Registry(
    DenoisingMethod,
    (
        AsSeen,
        MedianFilter,
        DUDE,
        LeaveOneOutDUDE,
        NeuralDUDE,
        SupervisedNeuralDUDE,
        AdaptiveNeuralDUDE,
    ),
)
"""Every method by its name."""


@dataclass(frozen=True)
class DenoiseResult:
    """The result of denoising.

    Attributes:
        symbols: Denoised symbols, of the shape and the type of the noisy ones.
        method: Name of the method.
        context: Its context; None where it has none.
        chosen: Estimated losses of the contexts that it was chosen from; empty where it was given.
        channel: The noise, given or estimated.
        before: Estimated loss of the noisy symbols.
        after: Estimated loss of the denoised symbols; None where no honest estimate can be made.
        standard_error: Standard error of the estimated gain ``before - after``; None where it is not known.
        warnings: Sentences for the reader.
        conservative: Whether ``after`` is the loss of rules that learnt from half of the symbols: those used, from all,
            gain more as a rule, so that the interval of the gain has no upper end.
    """

    symbols: Symbols
    method: str
    context: Context | None
    chosen: dict[Context, float]
    channel: Channel
    before: float
    after: float | None
    standard_error: float | None
    warnings: list[str]
    conservative: bool = False


def denoise(
    noisy: Symbols,
    channel: Channel,
    method: DenoisingMethod | str,
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
    """Denoise by a method of the package, of another distribution, or of one's own.

    Args:
        noisy: Symbols along a line or on a plane.
        channel: The noise, or the first guess of it.
        method: The method, or its name: a key of :data:`METHODS`, with its default settings.
        context: The context; chosen by the estimated loss unless given; networks without a model take one of fixed
            size.
        model: A denoiser that was trained with clean symbols, for ``"supervised"`` and ``"adaptive"``.
        unknown: Whether to estimate the channel first, see :func:`~.channel_estimation.estimate_channel`.
        symmetric: Whether to estimate it among symmetric channels alone.
        passes: Length of the training of networks.
        lengths: Lengths of sequences that stand one after another.
        seed: Seed of networks.
        device: Device of networks that are made here.

    Raises:
        SettingsError: Something does not fit.
    """
    denoiser = METHODS.build(method) if isinstance(method, str) else method
    data = NoisyData(noisy, channel, context, model, passes, lengths, seed, device)
    _check(denoiser, data, unknown=unknown)
    if model is not None:
        data = replace(data, context=model.context)
    warnings: list[str] = []
    if unknown:
        # Posteriors are more certain than a choice of mappings.
        network = data.network("posterior")
        estimate = estimate_channel(network, noisy, channel, passes=passes, lengths=lengths, symmetric=symmetric)
        data = replace(data, channel=estimate.channel)
        warnings.append("The channel was estimated, which fails where every context is certain of its symbol.")
    before = data.loss_as_seen()
    output = denoiser.denoise(data)
    return DenoiseResult(
        output.symbols,
        denoiser.card.name,
        output.context,
        output.compared or {},
        data.channel,
        before,
        output.estimated_loss,
        output.standard_error,
        warnings + list(output.warnings),
        output.conservative,
    )


def _check(denoiser: DenoisingMethod, data: NoisyData, *, unknown: bool) -> None:
    name, model = denoiser.card.name, data.model
    if (model is None) == denoiser.needs_model:
        raise SettingsError(f"method '{name}' " + ("needs a model" if model is None else "takes no model"))
    if model is not None:
        along_a_line = data.noisy.ndim == 1
        if isinstance(model.context, Context1d) != along_a_line:
            raise SettingsError(
                "the model was trained for symbols " + ("on a plane" if along_a_line else "along a line")
            )
        if data.context is not None:
            raise SettingsError("the model has its own context: leave 'context' out")
        if model.symbols != data.channel.outputs:
            raise SettingsError(
                f"the model was trained for {model.symbols} symbols, the channel has {data.channel.outputs}"
            )
    if data.context is not None and not denoiser.has_context and not unknown:
        raise SettingsError(f"method '{name}' has no context")
    if data.passes is not None and not denoiser.makes_passes and not unknown:
        raise SettingsError(f"method '{name}' makes no passes over the symbols: leave 'epochs' out")
