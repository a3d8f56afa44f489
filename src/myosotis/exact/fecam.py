"""FeCAM: the class with the smallest Mahalanobis distance, each with a covariance of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import torch
from jaxtyping import Float, Int
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.exact.grid import LIMIT, GridOverflowError, packed_size, second_moments, symmetric
from myosotis.exact.head import HeadSettings, SumsHead, numbered, one_thread, summed
from myosotis.exact.sums import Sums


@dataclass(frozen=True)
class FeCAMSettings(HeadSettings):
    """Settings of FeCAM.

    Attributes:
        tukey: Power of Tukey's transformation of non-negative features; null leaves features as they are.
        diagonal: Share gamma_1 of the mean variance that the diagonal is enlarged by.
        off_diagonal: Share gamma_2 of the mean covariance that is added off the diagonal.
    """

    tukey: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    diagonal: NonNegativeFloat = 1.0
    off_diagonal: NonNegativeFloat = 1.0


class FeCAM(SumsHead[FeCAMSettings]):
    """Distance of normalised features from normalised means by a shrunk correlation matrix of each class.

    Goswami, Liu, Twardowski, van de Weijer, NeurIPS 2023. A class whose records do not vary, a single one for example,
    has no covariance: it is measured by the Euclidean distance.
    """

    card = MethodCard(
        "fecam",
        "FeCAM",
        "Goswami, Liu, Twardowski, van de Weijer, NeurIPS 2023",
        "current task",
        "second moments of the features, for each class",
        "When classes spread differently and have many samples each. Forgets exactly.",
    )
    Settings = FeCAMSettings

    @cached_property
    def _powers(self) -> Int[Tensor, " values"]:
        """The power of every value on the grid: a table, for a value must not depend on its neighbours in a vector."""
        values = torch.arange(LIMIT + 1, dtype=torch.float64) / 2.0**self.settings.bits
        power = values.sqrt() if self.settings.tukey == 0.5 else values.pow(self.settings.tukey or 1.0)
        return (power * 2.0**self.settings.bits).round().int()

    def tables(self) -> dict[str, Tensor]:
        """Return the powers."""
        return {} if self.settings.tukey is None else {"powers": self._powers}

    def transformed(self, rows: Int[Tensor, "n d"]) -> Int[Tensor, "n d"]:
        """Return the features after Tukey's transformation, on the grid.

        Raises:
            GridOverflowError: A feature is negative.
        """
        if self.settings.tukey is None:
            return rows
        if rows.numel() and int(rows.amin()) < 0:
            raise GridOverflowError(
                "Tukey's transformation needs features of 0 or more, this body has negative ones; "
                "set 'method.tukey: null'"
            )
        powers = self._powers[rows.long()]
        if powers.numel() and int(powers.amax()) > LIMIT:
            raise GridOverflowError(
                f"a feature is beyond the grid of {self.settings.bits} bits; set 'method.bits' lower"
            )
        return powers

    def sums(self, rows: Int[Tensor, "n d"], classes: Sequence[str]) -> Sums:
        """Return for each class the sum of the features and that of their products."""
        names, labels = numbered(classes)
        values = self.transformed(rows)
        squares = torch.empty(len(names), packed_size(self.width), dtype=torch.int64)
        for label in range(len(names)):
            squares[label] = second_moments(values[labels == label])
        return Sums(
            names,
            labels.bincount(minlength=len(names)),
            {"features": summed(values, labels, len(names)), "products": squares},
        )

    def solve(self, sums: Sums) -> dict[str, Tensor]:
        """Return normalised means, (classes, d), and inverse correlation matrices, (classes, d, d)."""
        unit = 2.0**-self.settings.bits
        means = []
        inverses = torch.empty(len(sums.classes), self.width, self.width, dtype=torch.float64)
        with one_thread():
            for row, count in enumerate(sums.counts.tolist()):
                mean = sums.by_class["features"][row].double() * unit / count
                means.append(functional.normalize(mean, dim=0))
                inverses[row] = self._inverse(self.covariance(sums, row))
        return {"means": torch.stack(means), "inverses": inverses}

    def covariance(self, sums: Sums, row: int) -> Float[Tensor, "d d"]:
        """Return the covariance of the features of a class, with n - 1; zeros for a single record."""
        count, unit = int(sums.counts[row]), 2.0**-self.settings.bits
        mean = sums.by_class["features"][row].double() / count
        spread = symmetric(sums.by_class["products"][row], self.width).sub_(torch.outer(mean, mean).mul_(count))
        return spread.mul_(unit**2).div_(max(1, count - 1))

    def _inverse(self, covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
        """The inverse of the shrunk covariance, scaled to a correlation."""
        if not bool(covariance.any()):
            return torch.eye(len(covariance), dtype=covariance.dtype)
        shrunk = shrink(covariance, self.settings.diagonal, self.settings.off_diagonal)
        deviations = shrunk.diagonal().clamp(min=0).sqrt()
        deviations[deviations == 0] = 1.0
        correlation = shrunk.div_(torch.outer(deviations, deviations))
        factor, failed = torch.linalg.cholesky_ex(correlation)
        # Without shrinkage there may be no inverse: the paper's is this one.
        return torch.linalg.pinv(correlation, hermitian=True) if int(failed) else torch.cholesky_inverse(factor)

    def scores(self, head: Mapping[str, Tensor], features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the negative distances."""
        if self.settings.tukey is not None:
            features = features.clamp(min=0).pow(self.settings.tukey)
        points = functional.normalize(features, dim=1)
        distances = []
        for mean, inverse in zip(head["means"], head["inverses"], strict=True):
            offsets = points - mean
            distances.append(((offsets @ inverse) * offsets).sum(1))
        return -torch.stack(distances, dim=1)


def shrink(covariance: Float[Tensor, "d d"], diagonal: float, off_diagonal: float) -> Float[Tensor, "d d"]:
    """Return S + gamma_1 V_1 I + gamma_2 V_2 (1 - I), with the mean variance V_1 and the mean covariance V_2.

    Example:
        >>> shrink(torch.tensor([[1.0, 0.5], [0.5, 3.0]]), 1.0, 1.0).tolist()
        [[3.0, 1.0], [1.0, 5.0]]
    """
    size = len(covariance)
    variances = covariance.diagonal()
    between = (covariance.sum() - variances.sum()) / max(1, size * (size - 1))
    shrunk = covariance + off_diagonal * between
    shrunk.diagonal().copy_(variances + diagonal * variances.mean())
    return shrunk
