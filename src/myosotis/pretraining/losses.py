"""The losses of pre-training, over what was hidden."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Reduction = Literal["token", "sample"]


def hidden_mean(
    values: Float[Tensor, "batch tokens"], hidden: Bool[Tensor, "batch tokens"], reduction: Reduction = "token"
) -> Float[Tensor, ""]:
    """Return the mean of a value over hidden tokens.

    Args:
        values: Values of the tokens.
        hidden: The tokens that count.
        reduction: ``"token"`` over all hidden tokens of the batch, so that an image of which more is hidden counts
            more; ``"sample"`` the mean over images of their means.

    Example:
        >>> values = torch.tensor([[1.0, 3.0], [5.0, 9.0]])
        >>> hidden = torch.tensor([[True, True], [True, False]])
        >>> [hidden_mean(values, hidden, kind).item() for kind in ("token", "sample")]
        [3.0, 3.5]
    """
    weights = hidden.to(values.dtype)
    if reduction == "token":
        return (values * weights).sum() / weights.sum()
    return ((values * weights).sum(dim=1) / weights.sum(dim=1)).mean()


def ranking_loss(
    predicted: Float[Tensor, "batch tokens"],
    losses: Float[Tensor, "batch tokens"],
    hidden: Bool[Tensor, "batch tokens"],
) -> Float[Tensor, ""]:
    """Return the ranking loss of predicted losses over hidden tokens (HPM, Wang et al., CVPR 2023, eq. 6).

    The mean of ``-log sigmoid(p_i - p_j)`` over ordered pairs of hidden tokens of one image with ``l_i > l_j``. The
    released code counts both orders of a pair, which are equal.

    Args:
        predicted: Predicted losses p.
        losses: True losses l; no gradient flows into them.
        hidden: The tokens that count.

    Returns:
        ``log 2`` for equal predictions, less for the right order; 0 where there is no pair.

    Example:
        >>> losses, all_hidden = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3, dtype=torch.bool)
        >>> [round(ranking_loss(p, losses, all_hidden).item(), 4) for p in (0 * losses, losses, -losses)]
        [0.6931, 0.2512, 1.5845]
    """
    fixed = losses.detach()
    larger = (fixed.unsqueeze(2) > fixed.unsqueeze(1)) & hidden.unsqueeze(2) & hidden.unsqueeze(1)
    values = -functional.logsigmoid(predicted.unsqueeze(2) - predicted.unsqueeze(1))
    return torch.where(larger, values, 0.0).sum() / larger.sum().clamp(min=1)
