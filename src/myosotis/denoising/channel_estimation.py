"""An unknown channel, found from noisy symbols alone.

Ahn, Moon: Iterative Channel Estimation for Discrete Denoising under Channel Uncertainty (arXiv 1902.08921).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from myosotis.denoising.channel import Channel, Symbols
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import ADAPT, FINE_TUNE, Passes


@dataclass(frozen=True)
class ChannelEstimate:
    """A channel found from noisy symbols alone.

    Attributes:
        channel: The last one.
        history: The first guess, and the channel after every round.
        denoiser: As it has adapted to the last but one.
    """

    channel: Channel
    history: list[Channel]
    denoiser: NeuralDenoiser


def estimate_channel(
    denoiser: NeuralDenoiser,
    noisy: Symbols,
    start: Channel,
    *,
    rounds: int = 3,
    passes: Passes | None = None,
    lengths: Sequence[int] | None = None,
    symmetric: bool = False,
) -> ChannelEstimate:
    """Find an unknown channel: adapt to a guess, ask the denoiser what it believes, and take that for the next guess.

    Ahn, Moon (arXiv 1902.08921). It needs contexts that leave doubt about some symbols: where every context is
    certain of its symbol, no noise at all explains as much.

    Args:
        denoiser: New, or pre-trained; it stays as it is.
        noisy: Sequences or a plane.
        start: The first guess.
        rounds: How often.
        passes: Of each round.
        lengths: Of sequences that stand one after another.
        symmetric: Look among symmetric channels alone: one number is found more surely than many.

    Raises:
        ValueError: What is believed is no channel that can be inverted.
    """
    history = [start]
    current = denoiser
    for number in range(rounds):
        # Later rounds go on from the weights of the one before.
        settings = passes if passes is not None else FINE_TUNE if current.pretrained else ADAPT
        if number and passes is None and not denoiser.pretrained:
            settings = replace(ADAPT, epochs=FINE_TUNE.epochs)
        current = current.adapt(noisy, history[-1], passes=settings, lengths=lengths)
        history.append(current.held_beliefs(noisy, history[-1], lengths=lengths, symmetric=symmetric))
    return ChannelEstimate(history[-1], history, current)
