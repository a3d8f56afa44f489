"""RanPAC: ridge regression on a random projection of the features."""

import hashlib
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
from myosotis.models.exact.grid import LIMIT, GridOverflowError, product_sum
from myosotis.models.exact.head import HeadSettings, SumsHead, numbered, one_thread, summed
from myosotis.models.exact.sums import Sums

RIDGES = tuple(10.0**exponent for exponent in range(8, -9, -1))
"""The lambdas of the paper, the largest first."""

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
        products = (rows.double() @ self._projection.double()).clamp(min=0)
        values: Tensor = (products / 2 ** (_PROJECTION_BITS + _COARSER)).floor()
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
        grams = torch.stack(
            [product_sum(part, part) for fold in range(self.settings.folds) for part in [projected[folds == fold]]]
        )
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
        grams = sums.shared["gram"].double() * unit**2
        targets = sums.by_class["targets"].double() * unit  # (classes, folds, M)
        with one_thread():
            ridge = self.settings.ridge or choose_ridge(grams, targets, sums.by_class["counts"])
            weight = _ridge_regression(grams.sum(0), targets.sum(1).T, ridge)
        if weight is None:
            raise GridOverflowError(f"the sums have no inverse with a ridge of {ridge:g}; set 'method.ridge' higher")
        return {"weight": weight.T.contiguous(), "ridge": torch.tensor([ridge], dtype=torch.float64)}

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
    """Return the lambda of :data:`RIDGES` with the smallest squared error on the folds.

    The search descends from the largest and ends when the error has risen twice in a row; of equal ones the largest
    wins. Only sums enter, so that the choice is the one of a learner that never saw a forgotten record.

    Args:
        grams: G of each fold.
        targets: Q of each class and fold.
        counts: Records of each class and fold, tr(Y'Y).
    """
    total_gram, total_targets = grams.sum(0), targets.sum(1)
    best, least, worse = RIDGES[0], float("inf"), 0
    for ridge in RIDGES:
        error = float(counts.sum())
        for fold in range(len(grams)):
            own = targets[:, fold].T
            weight = _ridge_regression(total_gram - grams[fold], total_targets.T - own, ridge)
            if weight is None:
                return best  # smaller ones have no inverse either
            error += float((weight * (grams[fold] @ weight)).sum() - 2 * (weight * own).sum())
        if error < least:
            best, least, worse = ridge, error, 0
        else:
            worse += 1
        if worse == 2:
            break
    return best


def _ridge_regression(
    gram: Float[Tensor, "M M"], targets: Float[Tensor, "M classes"], ridge: float
) -> Float[Tensor, "M classes"] | None:
    """(G + lambda I)^-1 Q; None if there is no inverse within the precision."""
    factor, failed = torch.linalg.cholesky_ex(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
    return None if int(failed) else torch.cholesky_solve(targets, factor)
