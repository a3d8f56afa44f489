"""Single-symbol denoisers and estimates of their loss, without clean symbols.

Moon, Min, Lee, Yoon: Neural Universal Discrete Denoiser (NIPS 2016); Cha, Min, Yoon, Moon: Supervised Neural Discrete
Universal Denoiser for Adaptive Denoising (arXiv 2111.12350).
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Channel, Numbers
from myosotis.engine.errors import SettingsError

Table = NDArray[np.int64]

_MAX_MAPPINGS = 4096


def hamming(symbols: int) -> Numbers:
    """Return the loss of a wrong symbol, (clean, reconstructed): 1, and 0 for the right one."""
    return 1.0 - np.eye(symbols)


def reduced_mappings(symbols: int) -> Table:
    """Return the mapping that keeps the symbol, and the constant ones: (1 + symbols, symbols).

    For bits these are all that can be optimal while less than half of them are flipped. For more symbols others can be
    far better.

    Example:
        >>> reduced_mappings(2).tolist()
        [[0, 1], [0, 0], [1, 1]]
    """
    keep, constants = np.arange(symbols)[None], np.repeat(np.arange(symbols)[:, None], symbols, axis=1)
    return np.concatenate([keep, constants])


def all_mappings(noisy: int, reconstructed: int) -> Table:
    """Return all mappings from noisy to reconstructed symbols, ``reconstructed ** noisy`` of them.

    Raises:
        SettingsError: There are too many.

    Example:
        >>> all_mappings(2, 2).tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if reconstructed**noisy > _MAX_MAPPINGS:
        raise SettingsError(f"{reconstructed} ** {noisy} mappings are too many; use a factorised head")
    return np.array(list(itertools.product(range(reconstructed), repeat=noisy)), dtype=np.int64)


def check_loss(channel: Channel, loss: Numbers | None) -> Numbers:
    """Return a loss, (clean, reconstructed); Hamming's unless given.

    Raises:
        SettingsError: It has not a row for each clean symbol, or is not finite.
    """
    table = hamming(channel.inputs) if loss is None else np.asarray(loss, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != channel.inputs or not np.isfinite(table).all():
        raise SettingsError(f"a loss needs a row for each of {channel.inputs} clean symbols, got {table.shape}")
    return table


def true_loss(channel: Channel, loss: Numbers, mappings: Table) -> Numbers:
    """Return the expected loss of mappings for each clean symbol, (clean, mappings).

    ``rho[x, s] = sum_z matrix[x, z] loss[x, s(z)]``.
    """
    return np.asarray(np.einsum("xz,xsz->xs", channel.matrix, loss[:, mappings]))


def loss_estimate(channel: Channel, loss: Numbers | None, mappings: Table) -> Numbers:
    """Return estimates of the loss of mappings from noisy symbols alone, (noisy, mappings).

    ``L = inverse @ rho``. For a mapping that does not depend on the noisy symbol itself the expectation of ``L[Z, s]``
    given the clean symbol x is exactly ``rho[x, s]``. Values may be negative.

    Args:
        channel: The noise.
        loss: (clean, reconstructed); Hamming's unless given.
        mappings: (mappings, noisy), whole numbers.

    Raises:
        SettingsError: The sizes do not fit.

    Example:
        >>> loss_estimate(Channel.binary_symmetric(0.1), None, reduced_mappings(2)).round(3).tolist()
        [[0.1, -0.125, 1.125], [0.1, 1.125, -0.125]]
    """
    checked = check_loss(channel, loss)
    if mappings.ndim != 2 or mappings.shape[1] != channel.outputs:
        raise SettingsError(f"mappings need a column for each of {channel.outputs} noisy symbols, got {mappings.shape}")
    if mappings.min() < 0 or mappings.max() >= checked.shape[1]:
        raise SettingsError("a mapping names a symbol that cannot be reconstructed")
    return np.asarray(channel.inverse @ true_loss(channel, checked, mappings))


def head_estimate(channel: Channel, loss: Numbers | None = None) -> Numbers:
    """Return the estimate in parts, (noisy, heads, reconstructed): ``L[z, s] = sum_w H[z, w, s(w)]`` for any mapping s.

    ``H[z, w, h] = sum_x inverse[z, x] matrix[x, w] loss[x, h]``. To minimise over all mappings is to minimise over h
    for each w.
    """
    checked = check_loss(channel, loss)
    return np.asarray(np.einsum("zx,xw,xh->zwh", channel.inverse, channel.matrix, checked))


def pseudo_labels(estimate: Numbers) -> Numbers:
    """Return estimates as labels: ``max L - L``, with the maximum over all of it; larger for smaller losses.

    Example:
        >>> estimate = loss_estimate(Channel.binary_symmetric(0.1), None, reduced_mappings(2))
        >>> pseudo_labels(estimate).round(3).tolist()
        [[1.025, 1.25, 0.0], [1.025, 0.0, 1.25]]
    """
    return np.asarray(estimate.max() - estimate)


def supervised_labels(loss: Numbers, mappings: Table) -> Numbers:
    """Return labels for training with clean symbols, (clean, noisy, mappings): ``max loss - loss[x, s(z)]``.

    Their expectation over noisy symbols is that of :func:`pseudo_labels` but for a constant, so training may
    continue with those.
    """
    return np.asarray(loss.max() - loss[:, mappings].transpose(0, 2, 1))
