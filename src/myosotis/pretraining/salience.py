"""How salient the tokens of an image are, and the masking ratio that follows from it.

Choi, Park, Yi, Cha, Min: Salience-Based Adaptive Masking: Revisiting Token Dynamics for Enhanced Pre-training
(ECCV 2024). The text of the paper gives the idea and the released code the formulas; where the two differ, or where
that code cannot be run, the docstrings say what is done here.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import as_double

Scale = float | Literal["sqrt_dim"]
Scope = Literal["sample", "batch"]
Threshold = float | Literal["mean"]

_ROUNDING = 1e-6


@torch.no_grad()
def received_affinity(
    tokens: Float[Tensor, "batch tokens dim"], *, scale: Scale = 1.0, exclude_self: bool = False
) -> Float[Tensor, "batch tokens"]:
    """Return how much every token is read by all tokens of its image.

    With ``A = softmax_j(<x_i, x_j> / scale)`` over the keys j, the j-th value is ``sum_i A_ij``: a column sum. Rows sum
    to one, so that the other direction would say nothing. In single precision, also under autocast: in bfloat16 dot
    products of some hundreds are rounded to steps of two.

    Args:
        tokens: Patch embeddings with their positions, no class token among them.
        scale: Divisor of dot products: 1 as released, or ``"sqrt_dim"``, recommended for small images; a
            larger one makes the softmax less of a choice.
        exclude_self: Whether a token reads none of itself. With wide embeddings it reads little else.

    Returns:
        One value for each token; those of an image sum to their number.

    Example:
        >>> tokens = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
        >>> [round(value, 4) for value in received_affinity(tokens)[0].tolist()]
        [1.8884, 0.7649, 0.8236, 0.5231]
    """
    divisor = tokens.shape[-1] ** 0.5 if scale == "sqrt_dim" else float(scale)
    if divisor <= 0:
        raise SettingsError(f"the scale must be positive, got {scale}")
    with torch.autocast(tokens.device.type, enabled=False):
        x = tokens.detach().float()
        scores = (x / divisor) @ x.transpose(1, 2)
        if exclude_self:
            scores.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        return scores.softmax(dim=-1).sum(dim=-2)


def unit_interval(values: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Return ``(v - min) / (max - min)`` of each image; 0 throughout where all values are the same.

    Example:
        >>> unit_interval(torch.tensor([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0]])).tolist()
        [[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]
    """
    low, high = values.amin(dim=1, keepdim=True), values.amax(dim=1, keepdim=True)
    spread = high - low
    # What is left of equal values is rounding, which must not be blown up.
    flat = spread <= _ROUNDING * high.abs().clamp(min=1)
    return torch.where(flat, 0.0, (values - low) / torch.where(flat, 1.0, spread))


def rank_interval(values: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
    """Return the rank of each value in its image, from 0 to 1; equal values share their mean rank.

    Ranks spread evenly however skewed the values are; the papers know nothing of them.

    Example:
        >>> rank_interval(torch.tensor([[5.0, 0.1, 0.2], [1.0, 1.0, 7.0]])).tolist()
        [[1.0, 0.0, 0.5], [0.25, 0.25, 1.0]]
    """
    # Equal values differ by rounding, which must not be ranked.
    largest = values.abs().amax(dim=1, keepdim=True).clamp(min=1e-12)
    rounded = (values / largest / _ROUNDING).round().contiguous()
    ordered = rounded.sort(dim=1).values
    below = torch.searchsorted(ordered, rounded)
    up_to = torch.searchsorted(ordered, rounded, right=True)
    return (below + up_to - 1).to(values.dtype) / (2 * max(1, values.shape[1] - 1))


def token_salience(
    tokens: Float[Tensor, "batch tokens dim"], *, scale: Scale = 1.0, exclude_self: bool = False
) -> Float[Tensor, "batch tokens"]:
    """Return the salience of every token: :func:`received_affinity`, stretched over [0, 1] in each image.

    It follows permutations of the tokens and ignores rotations of their space, and nothing else: a constant added to
    all tokens changes it, so that biases, positions and the normalisation of the input decide what is salient.

    Args:
        tokens: Tokens as for :func:`received_affinity`.
        scale: Divisor as for :func:`received_affinity`.
        exclude_self: Whether a token does not read itself.

    Returns:
        In [0, 1]; 0 throughout for an image whose tokens are all alike, for which the released code has no number.

    Example:
        >>> tokens = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
        >>> [round(value, 4) for value in token_salience(tokens)[0].tolist()]
        [1.0, 0.1771, 0.2201, 0.0]
    """
    return unit_interval(received_affinity(tokens, scale=scale, exclude_self=exclude_self))


def adaptive_ratio(
    salience: Float[Tensor, "batch tokens"],
    base: float,
    spread: float,
    threshold: Threshold = 0.5,
    scope: Scope = "sample",
) -> Float[Tensor, " batch"]:
    """Return a masking ratio for every image: the more of its tokens are salient, the larger.

    ``r = base - spread + 2 spread y`` with y the share of tokens whose salience is above the threshold.

    Args:
        salience: Salience in [0, 1].
        base: The ratio of an image half of whose tokens are salient.
        spread: Largest distance from it.
        threshold: Threshold of salience; ``"mean"`` is the mean of the image.
        scope: ``"sample"`` as the paper says; ``"batch"`` takes the mean of y over the batch, as the released code
            does, so that one ratio holds for all and depends on the neighbours.

    Returns:
        In double precision: how many tokens are hidden hangs on the last digits.

    Raises:
        SettingsError: Ratios would leave [0, 1].

    Example:
        >>> salience = torch.tensor([[1.0, 0.1771, 0.2201, 0.0]])
        >>> [round(adaptive_ratio(salience, 0.75, 0.1, level).item(), 2) for level in (0.1, 0.2, 0.5, 1.0)]
        [0.8, 0.75, 0.7, 0.65]
    """
    if spread < 0 or not (spread <= base <= 1 - spread):
        raise SettingsError(f"a ratio of {base} with a spread of {spread} exceeds [0, 1]")
    level = salience.mean(dim=1, keepdim=True) if threshold == "mean" else float(threshold)
    share = as_double(salience > level).mean(dim=1)
    if scope == "batch":
        share = share.mean().expand_as(share)
    return base - spread + 2 * spread * share
