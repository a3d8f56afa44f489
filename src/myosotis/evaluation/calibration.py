"""Calibration of classifiers."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def calibration_error(probabilities: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al., ICML 2017, equation 3).

    The mean, over bins of equal width in the largest probability and weighted by their number of samples, of
    |accuracy - mean largest probability|.

    Args:
        probabilities: Rows that sum to 1.
        labels: True classes.
        bins: Number of bins.

    Raises:
        ValueError: There is no sample.

    Example:
        >>> calibration_error(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
        0.25
    """
    if not len(labels):
        raise ValueError("calibration needs at least one sample")
    top, prediction = probabilities.double().max(dim=1)
    correct = (prediction == labels).double()
    # Bins are open below and closed above, so that 1.0 belongs to the last.
    bin_index = ((top * bins).ceil().long() - 1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64, device=top.device).index_add_(0, bin_index, correct - top)
    return (gaps.abs().sum() / len(labels)).item()
