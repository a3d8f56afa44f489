"""Estimation of an unknown channel from noisy symbols alone.

Ahn, Moon: Iterative Channel Estimation for Discrete Denoising under Channel Uncertainty (arXiv 1902.08921).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from myosotis.denoising.channel import Channel, Symbols
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import ADAPT, FINE_TUNE, Passes


@dataclass(frozen=True)
class ChannelEstimate:
    """A channel estimated from noisy symbols alone.

    Attributes:
        channel: The channel after the last round.
        history: The first guess, and the channel after every round.
        denoiser: The denoiser, adapted to the last channel but one.
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
    """Estimate an unknown channel: adapt to a guess, and take the channel that the posteriors imply as the next guess.

    Ahn, Moon (arXiv 1902.08921). It needs contexts that leave doubt about some symbols: where every context is
    certain of its symbol, no noise at all explains as much.

    Args:
        denoiser: A new or pre-trained denoiser, which is not changed.
        noisy: Sequences or a plane.
        start: The first guess.
        rounds: Number of rounds.
        passes: Passes of each round.
        lengths: Lengths of sequences that stand one after another.
        symmetric: Whether to estimate a symmetric channel: one number is more certain than many.

    Raises:
        ValueError: The posteriors imply a channel that cannot be inverted.
    """
    history = [start]
    current = denoiser
    for number in range(rounds):
        # Later rounds continue from the weights of the previous one.
        settings = passes if passes is not None else FINE_TUNE if current.pretrained else ADAPT
        if number and passes is None and not denoiser.pretrained:
            settings = ADAPT.model_copy(update={"epochs": FINE_TUNE.epochs})
        current = current.adapt(noisy, history[-1], passes=settings, lengths=lengths)
        history.append(current.held_beliefs(noisy, history[-1], lengths=lengths, symmetric=symmetric))
    return ChannelEstimate(history[-1], history, current)
