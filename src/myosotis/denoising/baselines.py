"""Baselines of denoisers: a median, and the optimum for a known source."""

import numpy as np
from scipy.ndimage import median_filter

from myosotis.denoising.channel import Channel, Numbers, Symbols
from myosotis.denoising.mappings import check_loss
from myosotis.engine.errors import SettingsError


def median(noisy: Symbols, size: int = 3) -> Symbols:
    """Return each symbol's median over a window, edges continued; for bits on a plane or along a line."""
    return np.asarray(median_filter(noisy, size=size, mode="nearest"))


def forward_backward(
    noisy: Symbols,
    channel: Channel,
    transition: Numbers,
    initial: Numbers | None = None,
    *,
    loss: Numbers | None = None,
) -> Symbols:
    """Return the reconstruction of least expected loss for a known Markov source: no denoiser can do better.

    Args:
        noisy: Along a line.
        channel: The noise.
        transition: Probabilities (clean, clean) from a symbol to the next.
        initial: Distribution of the first symbol; uniform unless given.
        loss: (clean, reconstructed); Hamming's unless given.

    Raises:
        SettingsError: Rows do not sum to one, or sizes do not fit.

    Example:
        >>> noisy = np.array([0, 0, 1, 0, 0, 1, 1, 1])
        >>> forward_backward(noisy, Channel.binary_symmetric(0.1), np.array([[0.95, 0.05], [0.05, 0.95]])).tolist()
        [0, 0, 0, 0, 0, 1, 1, 1]
    """
    q = channel.inputs
    if transition.shape != (q, q) or not np.allclose(transition.sum(axis=1), 1):
        raise SettingsError(f"a transition needs {q} rows that sum to one, got {transition.shape}")
    checked, count = check_loss(channel, loss), len(noisy)
    likely = channel.matrix.T[noisy]
    forward = np.empty((count, q))
    state = np.full(q, 1 / q) if initial is None else np.asarray(initial, dtype=np.float64)
    for index in range(count):
        state = state * likely[index]
        state /= state.sum()
        forward[index] = state
        state = state @ transition
    backward = np.ones(q)
    reconstruction = np.empty(count, dtype=noisy.dtype)
    for index in range(count - 1, -1, -1):
        reconstruction[index] = (forward[index] * backward @ checked).argmin()
        backward = transition @ (likely[index] * backward)
        backward /= backward.sum()
    return reconstruction
