"""RanPAC: ridge regression on a random projection of the features."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.exact.grid import LIMIT, GridOverflowError, packed_size, second_moments, symmetric
from myosotis.exact.head import HeadSettings, SumsHead, numbered, one_thread, summed
from myosotis.exact.sums import Sums

_LARGEST = 8
RIDGES = tuple(10.0**exponent for exponent in range(_LARGEST, -_LARGEST - 1, -1))
"""The lambdas of the paper, the largest first."""

_SINGLE = 1e6  # trace of G in units of lambda below which rounding G to float32 is as a small change of lambda
_PROJECTION_BITS = 8  # after the point of the projection's entries
_COARSER = 2  # bits that a projected feature has fewer than a feature


@dataclass(frozen=True)
class RanPACSettings(HeadSettings):
    """Settings of RanPAC.

    Attributes:
        projection: Number M of projected features; 10,000 in the paper.
        ridge: Penalty lambda; chosen by cross-validation among the powers of ten from 10^-8 to 10^8 unless given.
        folds: Folds of the cross-validation; each has sums of its own, of M^2 integers.
    """

    projection: PositiveInt = 2000
    ridge: PositiveFloat | None = None
    folds: Annotated[int, Field(ge=2, le=20)] = 2


class RanPAC(SumsHead[RanPACSettings]):
    """W_o = (G + lambda I)^-1 Q with h = relu(f W), G = sum h h', Q = sum h y' (McDonnell et al., NeurIPS 2023).

    Without the paper's adaptation of the body to the first task, which no sum can take back. lambda is a function of
    sums too: a record's fold is drawn from its features, and the squared error of a fold is
    tr(Y'Y) - 2 tr(W'Q) + tr(W'G W) with the fold's own sums and the W of the others. The paper holds a fifth of the
    samples out instead.
    """

    card = MethodCard(
        "ranpac",
        "RanPAC",
        "McDonnell, Gong, Parvaneh, Abbasnejad, van den Hengel, NeurIPS 2023",
        "current task",
        "second moments of M projected features, for each fold",
        "The best of the heads on a frozen body, equal to joint ridge regression. Forgets exactly.",
    )
    Settings = RanPACSettings

    @cached_property
    def _projection(self) -> Int[Tensor, "d M"]:
        """W: entries of a standard normal distribution, rounded to integers in units of 2^-8."""
        shape = (self.width, self.settings.projection)
        drawn = torch.randn(shape, dtype=torch.float64, generator=generator(self.seed, "projection"))
        units: Tensor = (drawn * 2**_PROJECTION_BITS).round()
        return units.short()

    def constants(self) -> dict[str, Tensor]:
        """Return the projection."""
        return {"projection": self._projection}

    def projected(self, rows: Int[Tensor, "n d"]) -> Int[Tensor, "n M"]:
        """Return h on a grid of two bits fewer than that of the features: the products are exact, their rest is cut.

        Raises:
            GridOverflowError: One is beyond the grid.
        """
        products = rows.double() @ self._projection.double()
        values: Tensor = products.clamp_(min=0).div_(2 ** (_PROJECTION_BITS + _COARSER)).floor_()
        if values.numel() and float(values.amax()) > LIMIT:
            raise GridOverflowError(
                f"a projected feature is beyond the grid of {self.settings.bits - _COARSER} bits; set 'method.bits' "
                "lower"
            )
        return values.int()

    def sums(self, rows: Int[Tensor, "n d"], classes: Sequence[str]) -> Sums:
        """Return G and the number of records of each fold, and for each class and fold Q and the number of records."""
        names, labels = numbered(classes)
        folds = torch.tensor([fold_of(row, self.settings.folds) for row in rows], dtype=torch.long)
        projected = self.projected(rows)
        cells = labels * self.settings.folds + folds
        count = len(names) * self.settings.folds
        grams = torch.zeros(self.settings.folds, packed_size(self.settings.projection), dtype=torch.int64)
        for fold in folds.unique().tolist():
            grams[fold] = second_moments(projected[folds == fold])
        return Sums(
            names,
            labels.bincount(minlength=len(names)),
            {
                "targets": summed(projected, cells, count).view(len(names), self.settings.folds, -1),
                "counts": cells.bincount(minlength=count).view(len(names), self.settings.folds),
            },
            {"gram": grams},
        )

    def solve(self, sums: Sums) -> dict[str, Tensor]:
        """Return W_o, (classes, M), and lambda."""
        unit = 2.0 ** (_COARSER - self.settings.bits)
        grams = self.grams(sums)
        targets = sums.by_class["targets"].double() * unit  # (classes, folds, M)
        with one_thread():
            ridge = self.settings.ridge or choose_ridge(grams, targets, sums.by_class["counts"])
            weight = _ridge_regression(grams.sum(0), targets.sum(1).T, ridge)
        if weight is None:
            raise GridOverflowError(f"the sums have no inverse with a ridge of {ridge:g}; set 'method.ridge' higher")
        return {"weight": weight.T.contiguous(), "ridge": torch.tensor([ridge], dtype=torch.float64)}

    def grams(self, sums: Sums) -> Float[Tensor, "folds M M"]:
        """Return G of each fold."""
        size = self.settings.projection
        grams = torch.empty(self.settings.folds, size, size, dtype=torch.float64)
        for fold, packed in enumerate(sums.shared["gram"]):
            grams[fold] = symmetric(packed, size)
        return grams.mul_(4.0 ** (_COARSER - self.settings.bits))

    def scores(self, head: Mapping[str, Tensor], features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return relu(f W) W_o."""
        projection = head["projection"].to(features) / 2**_PROJECTION_BITS
        return functional.relu(features @ projection) @ head["weight"].T


def fold_of(row: Int[Tensor, " d"], folds: int) -> int:
    """Return the fold of a record, which depends on its features alone."""
    return int.from_bytes(hashlib.sha256(row.int().numpy().tobytes()).digest()[:8], "big") % folds


def choose_ridge(
    grams: Float[Tensor, "folds M M"], targets: Float[Tensor, "classes folds M"], counts: Int[Tensor, "classes folds"]
) -> float:
    """Return the lambda of :data:`RIDGES` at which the squared error on the folds has a minimum.

    The search begins at the mean squared length of h, goes the way that the error falls, and ends where it rises again
    or its derivative changes sign; of equal ones the largest wins. Only sums enter, so that the choice is the one of a
    learner that never saw a forgotten record.

    Args:
        grams: G of each fold.
        targets: Q of each class and fold.
        counts: Records of each class and fold, tr(Y'Y).
    """
    total = grams.sum(0)
    trace, count = float(total.trace()), int(counts.sum())
    joint = targets.sum(1).T
    folds = [_Fold(total, gram, joint, targets[:, number].T) for number, gram in enumerate(grams)]

    def error(index: int) -> tuple[float, float]:
        """The error and its derivative; infinite where a fold has no solution, as it happens to small lambdas."""
        ridge = RIDGES[index]
        dtype = torch.float32 if trace < _SINGLE * ridge else torch.float64
        parts = [fold.error(ridge, dtype) for fold in folds]
        return count + sum(value for value, _ in parts), sum(slope for _, slope in parts)

    length = math.log10(trace / count) if trace > 0 else 0.0
    index = min(max(0, _LARGEST - round(length)), len(RIDGES) - 1)
    least, slope = error(index)
    step = 1 if slope > 0 else -1  # the lambdas fall with the index
    while 0 <= index + step < len(RIDGES):
        further, next_slope = error(index + step)
        if not (further < least or least == math.inf or (further == least and step < 0)):
            break
        index, least = index + step, further
        if (next_slope > 0) != (slope > 0):
            break
    return RIDGES[index]


class _Fold:
    """What is fitted to all folds but one, and how it does on that one."""

    def __init__(self, total: Tensor, gram: Tensor, targets: Tensor, own_targets: Tensor) -> None:
        self._sums = (total, gram, targets, own_targets)
        self._cast: dict[torch.dtype, tuple[Tensor, ...]] = {}

    def error(self, ridge: float, dtype: torch.dtype) -> tuple[float, float]:
        """The squared error but for tr(Y'Y), and its derivative by lambda; (inf, -inf) where there is no solution."""
        if dtype not in self._cast:
            total, gram, targets, own_targets = self._sums
            self._cast[dtype] = tuple(
                part.to(dtype) for part in (total - gram, gram, targets - own_targets, own_targets)
            )
        rest, gram, targets, own_targets = self._cast[dtype]
        factor = _factor(rest, ridge)
        if factor is None:
            return math.inf, -math.inf
        weight = torch.cholesky_solve(targets, factor)
        change = torch.cholesky_solve(weight, factor)  # minus the derivative of the weight
        residual = gram @ weight - own_targets
        error = (weight.double() * (residual - own_targets).double()).sum()
        return float(error), float(-2 * (change.double() * residual.double()).sum())


def _ridge_regression(
    gram: Float[Tensor, "M M"], targets: Float[Tensor, "M classes"], ridge: float
) -> Float[Tensor, "M classes"] | None:
    """(G + lambda I)^-1 Q; None if there is no inverse within the precision."""
    factor = _factor(gram, ridge)
    return None if factor is None else torch.cholesky_solve(targets, factor)


def _factor(gram: Float[Tensor, "M M"], ridge: float) -> Float[Tensor, "M M"] | None:
    """The Cholesky factor of G + lambda I; None if there is none within the precision."""
    shifted = gram.clone()
    shifted.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    return None if int(failed) else factor
