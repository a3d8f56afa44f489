"""Features as integers: sums of integers do not depend on their order, and a summand can be taken out again."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.errors import SettingsError

LIMIT = 2**20
"""Largest magnitude of a feature on the grid."""

CHUNK = 2**12
"""Most records whose products are summed in float64 at once: their sums stay below 2^53."""

MOST_RECORDS = 2**22
"""Most records of one learner: sums of as many products stay below 2^62."""


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


def product_sum(left: Int[Tensor, "n a"], right: Int[Tensor, "n b"]) -> Int[Tensor, "a b"]:
    """Return left' right exactly, for at most :data:`CHUNK` rows of magnitudes up to :data:`LIMIT`.

    The product is computed in float64, whose integers up to 2^53 are exact in any order of summation.
    """
    assert len(left) <= CHUNK  # noqa: S101 - the callers split their rows
    return torch.matmul(left.double().T, right.double()).long()
