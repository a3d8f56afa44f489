"""Neural DUDE, and supervised Neural DUDE with and without adapting it."""

from dataclasses import dataclass

from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput, NoisyData
from myosotis.denoising.passes import ADAPT, FINE_TUNE
from myosotis.engine.method import MethodCard

_FEW_SYMBOLS = 100_000
_SUPERVISED = (
    "Cha, Min, Yoon, Moon: Supervised Neural Discrete Universal Denoiser for Adaptive Denoising, arXiv 2111.12350, 2021"
)


@dataclass(frozen=True)
class NeuralDUDE(DenoisingMethod):
    """A network learns the rules of all contexts from the noisy symbols."""

    card = MethodCard(
        "neural",
        "Neural DUDE",
        "Moon, Min, Lee, Yoon: Neural Universal Discrete Denoiser, NIPS 2016",
        "noisy symbols, the channel",
        "a small network",
        "For contexts that are too large to count; needs many symbols.",
    )
    makes_passes = True

    def denoise(self, data: NoisyData) -> MethodOutput:
        """Return symbols denoised by a network that was adapted to them."""
        noisy, channel, lengths, warnings = data.noisy, data.channel, data.lengths, list[str]()
        if channel.outputs > 2 and noisy.size < _FEW_SYMBOLS:
            warnings.append(f"{noisy.size:,} symbols are few to adapt a network to with {channel.outputs} of them.")
        network = data.network()
        passes = data.passes or (FINE_TUNE if network.pretrained else ADAPT)
        estimate, error = network.cross_fitted_estimate(noisy, channel, passes=passes, lengths=lengths)
        adapted = network.adapt(noisy, channel, passes=passes, lengths=lengths)
        symbols = adapted.denoise(noisy, channel, lengths=lengths)
        return MethodOutput(
            symbols, estimate, network.context, warnings=tuple(warnings), standard_error=error, conservative=True
        )


@dataclass(frozen=True)
class SupervisedNeuralDUDE(DenoisingMethod):
    """A network that was trained with clean symbols, as it is."""

    card = MethodCard(
        "supervised",
        "A model as it was trained, without adapting it",
        _SUPERVISED,
        "noisy symbols, the channel; clean ones in training",
        "a small network",
        "For the noise of the training; a control for 'adaptive'.",
    )
    needs_model = True

    def denoise(self, data: NoisyData) -> MethodOutput:
        noisy, channel, lengths, model = data.noisy, data.channel, data.lengths, data.network()
        symbols = model.denoise(noisy, channel, lengths=lengths)
        estimate, error = model.estimate(noisy, channel, lengths=lengths)
        return MethodOutput(symbols, estimate, model.context, standard_error=error)


@dataclass(frozen=True)
class AdaptiveNeuralDUDE(NeuralDUDE):
    """A network that was trained with clean symbols and is adapted to the noisy ones."""

    card = MethodCard(
        "adaptive",
        "Supervised Neural DUDE: a trained model, adapted to the noisy symbols",
        _SUPERVISED,
        "noisy symbols, the channel; clean ones in training",
        "a small network",
        "For clean data of the same kind; the noise may differ from that of the training.",
    )
    needs_model = True
    passes = FINE_TUNE
