"""Losses of two views, in single precision or better: those of SimCLR, BYOL, Barlow Twins and VICReg."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.continual.selfsupervised.contrast import at_least_single

_EPS = 1e-5


def pairwise_contrast(
    a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], temperature: float
) -> Float[Tensor, ""]:
    """Return NT-Xent (Chen et al., ICML 2020): the positive among the other 2B - 1 embeddings is the other view.

    Args:
        a: Embeddings of the first view.
        b: Embeddings of the second view.
        temperature: Positive temperature.
    """
    with torch.autocast(a.device.type, enabled=False):
        rows = functional.normalize(at_least_single(torch.cat([a, b])), dim=1)
        logits = rows @ rows.T / temperature
        logits.fill_diagonal_(-torch.inf)
        twins = torch.arange(len(rows), device=rows.device).roll(len(a))
        return functional.cross_entropy(logits, twins)


def negative_cosine(a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """Return ``2 - 2 cos(a, b)``, the mean over the batch: the loss of BYOL (Grill et al., NeurIPS 2020)."""
    with torch.autocast(a.device.type, enabled=False):
        return (2 - 2 * functional.cosine_similarity(at_least_single(a), at_least_single(b), dim=1)).mean()


def redundancy_reduction(
    a: Float[Tensor, "batch dim"], b: Float[Tensor, "batch dim"], off_diagonal: float = 5e-3, scale: float = 0.1
) -> Float[Tensor, ""]:
    """Return the loss of Barlow Twins (Zbontar et al., ICML 2021) on the cross-correlation C of two embeddings.

    ``scale * (sum_i (1 - C_ii)² + off_diagonal * sum_{i != j} C_ij²)``.

    Args:
        a: Embeddings of the first view, not normalised.
        b: Embeddings of the second view, not normalised.
        off_diagonal: Weight of the correlations of different entries.
        scale: Factor of the loss.

    Raises:
        ValueError: A batch of one has no correlation.
    """
    if len(a) < 2:
        raise ValueError("a correlation needs a batch of at least two")
    with torch.autocast(a.device.type, enabled=False):
        first, second = (_standardised(at_least_single(side)) for side in (a, b))
        table = first.T @ second / len(a)
        diagonal = table.diagonal()
        off = table.square().sum() - diagonal.square().sum()
        return scale * ((1 - diagonal).square().sum() + off_diagonal * off)


def variance_invariance_covariance(
    a: Float[Tensor, "batch dim"],
    b: Float[Tensor, "batch dim"],
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
) -> Float[Tensor, ""]:
    """Return the loss of VICReg (Bardes, Ponce, LeCun, ICLR 2022).

    Args:
        a: Embeddings of the first view, not normalised.
        b: Embeddings of the second view, not normalised.
        invariance: Weight of the mean squared difference.
        variance: Weight of ``½ sum over views of mean_j max(0, 1 - std_j)``.
        covariance: Weight of the squared covariances of different entries, per entry, summed over views.

    Raises:
        ValueError: A batch of one has no variance.
    """
    if len(a) < 2:
        raise ValueError("a variance needs a batch of at least two")
    with torch.autocast(a.device.type, enabled=False):
        first, second = at_least_single(a), at_least_single(b)
        spread, shared = [], []
        for side in (first, second):
            spread.append(functional.relu(1 - (side.var(dim=0) + 1e-4).sqrt()).mean() / 2)
            centred = side - side.mean(dim=0)
            table = centred.T @ centred / (len(side) - 1)
            off = table.square().sum() - table.diagonal().square().sum()
            shared.append(off / side.shape[1])
        near = functional.mse_loss(first, second)
        return invariance * near + variance * (spread[0] + spread[1]) + covariance * (shared[0] + shared[1])


def _standardised(side: Tensor) -> Tensor:
    return (side - side.mean(dim=0)) / (side.var(dim=0, unbiased=False) + _EPS).sqrt()
