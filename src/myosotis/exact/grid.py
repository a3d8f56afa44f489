"""Features as integers: sums of integers do not depend on their order, and a summand can be taken out again."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.errors import SettingsError

LIMIT = 2**20
"""Largest magnitude of a feature on the grid."""

CHUNK = 2**12
"""Most records whose products are summed in float64 at once: their sums stay below 2^53."""

MAX_RECORDS = 2**22
"""Most records of one learner: sums of as many products stay below 2^62."""

_STRIP = 256  # rows of a strip of second moments


class GridOverflowError(SettingsError):
    """A feature is beyond the grid."""


def to_grid(features: Float[Tensor, "n features"], bits: int) -> Int[Tensor, "n features"]:
    """Return features as integers, in units of 2^-bits.

    The grid does not depend on any record: one that was forgotten has no part in how the others are rounded.

    Args:
        features: Features; in float64, for what is rounded must not depend on the batch.
        bits: Binary digits after the point.

    Raises:
        GridOverflowError: A feature is not finite, or its magnitude is above :data:`LIMIT` units.

    Example:
        >>> to_grid(torch.tensor([[0.25, -1.0]], dtype=torch.float64), 12).tolist()
        [[1024, -4096]]
    """
    units = features.double() * 2.0**bits
    largest = units.abs().amax() if units.numel() else units.new_zeros(())
    if not bool(largest <= LIMIT):
        magnitude = float(largest) / 2.0**bits
        raise GridOverflowError(
            f"a feature has the magnitude {magnitude:g}, the grid of {bits} bits ends at {LIMIT / 2.0**bits:g}; "
            "set 'method.bits' lower"
        )
    return units.round().int()


def second_moments(rows: Int[Tensor, "n a"]) -> Int[Tensor, " packed"]:
    """Return the upper triangle of rows' rows exactly, for up to :data:`CHUNK` rows of magnitudes up to :data:`LIMIT`.

    The products are computed in float64, whose integers up to 2^53 are exact in any order of summation. The triangle is
    packed in strips of 256 rows, each from its block on the diagonal on; see :func:`symmetric`.
    """
    assert len(rows) <= CHUNK  # noqa: S101 - the callers split their rows
    values = rows.double()
    packed = torch.empty(packed_size(rows.shape[1]), dtype=torch.int64)
    for begin, end, strip in _strips(packed, rows.shape[1]):
        strip.copy_(values[:, begin:end].T @ values[:, begin:])
    return packed


def packed_size(width: int) -> int:
    """Return the number of entries of :func:`second_moments` for rows of a width."""
    return sum((min(begin + _STRIP, width) - begin) * (width - begin) for begin in range(0, width, _STRIP))


def symmetric(packed: Int[Tensor, " packed"], width: int) -> Float[Tensor, "a a"]:
    """Return the float64 matrix of which :func:`second_moments` returned the upper triangle, or a sum of such.

    Example:
        >>> symmetric(second_moments(torch.tensor([[1, 2], [3, 4]])), 2).tolist()
        [[10.0, 14.0], [14.0, 20.0]]
    """
    matrix = torch.empty(width, width, dtype=torch.float64)
    for begin, end, strip in _strips(packed, width):
        matrix[begin:end, begin:] = strip
        matrix[end:, begin:end] = matrix[begin:end, end:].T
    return matrix


def _strips(packed: Tensor, width: int) -> Iterator[tuple[int, int, Tensor]]:
    """Views of the strips with the numbers of their first row and of the row after their last."""
    offset = 0
    for begin in range(0, width, _STRIP):
        end = min(begin + _STRIP, width)
        size = (end - begin) * (width - begin)
        yield begin, end, packed[offset : offset + size].view(end - begin, width - begin)
        offset += size
