"""The hidden tokens of images, in all forms that a model needs."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from myosotis.engine.processes import as_double, to_device


@dataclass(frozen=True)
class TokenMask:
    """The visible and the hidden tokens of a batch; images may differ in how many are visible.

    Attributes:
        keep: Indices of the visible tokens, K the largest number of any image; the last indices of an image with fewer
            are hidden tokens, to be ignored.
        valid: Whether each of them is visible.
        restore: Index of each token in the order that begins with ``keep``.
        hidden: Whether each token is hidden.
        counts: Visible tokens of each image.
        lengths: The counts on the host; None where all images have as many.
        guide: The guide of the choice, if there was any.
    """

    keep: Int[Tensor, "batch visible"]
    valid: Bool[Tensor, "batch visible"]
    restore: Int[Tensor, "batch tokens"]
    hidden: Bool[Tensor, "batch tokens"]
    counts: Int[Tensor, " batch"]
    lengths: Int[Tensor, " batch"] | None = None
    guide: Float[Tensor, "batch tokens"] | None = None

    @property
    def ragged(self) -> bool:
        """Whether images differ in their counts."""
        return self.lengths is not None

    @property
    def ratios(self) -> Float[Tensor, " batch"]:
        """The share of hidden tokens in each image."""
        return self.hidden.float().mean(dim=1)


def visible_count(tokens: int, ratio: float) -> int:
    """Return the number of visible tokens: ``floor(L (1 - r))``, but at least one, and not all.

    Example:
        >>> [visible_count(49, ratio) for ratio in (0.5, 0.75, 0.9)], visible_count(10, 0.9), visible_count(20, 0.9)
        ([24, 12, 4], 1, 2)
    """
    # In binary 20 (1 - 0.9) is a little less than 2.
    return min(max(int(tokens * (1 - ratio) + 1e-6), 1), tokens - 1)


def mask_from_scores(
    scores: Float[Tensor, "batch tokens"],
    ratio: float | Float[Tensor, " batch"],
    guide: Float[Tensor, "batch tokens"] | None = None,
) -> TokenMask:
    """Return the mask that hides the tokens with the largest scores; of equal ones the later.

    Args:
        scores: Finite, or infinite for tokens that must be hidden; no NaN.
        ratio: Share of hidden tokens, of all images or of each; see :func:`visible_count` for how it is rounded.
        guide: The guide of the choice, stored in the mask.

    Raises:
        ValueError: There are fewer than two tokens, or a ratio is not in [0, 1].

    Example:
        >>> mask = mask_from_scores(torch.tensor([[1.0, 0.2, 0.3, 0.0]]), 0.5)
        >>> mask.keep.tolist(), mask.hidden.tolist()
        ([[3, 1]], [[True, False, True, False]])
    """
    batch, tokens = scores.shape
    if tokens < 2:
        raise ValueError(f"an image needs at least two tokens, got {tokens}")
    if not isinstance(ratio, Tensor):
        if not 0 <= ratio <= 1:
            raise ValueError(f"a ratio must be in [0, 1], got {ratio}")
        return _mask(scores, [visible_count(tokens, ratio)] * batch, guide)
    # Ratios in single precision are off by so much.
    slack = 1e-6 if ratio.dtype == torch.float64 else 1e-6 + tokens * torch.finfo(ratio.dtype).eps
    exact = as_double(ratio)
    counts = (tokens * (1 - exact) + slack).floor().long().clamp(1, tokens - 1)
    # The one thing in a step that has to be known on the host: sizes depend on it.
    *lengths, wrong = torch.cat([counts, ((exact < 0) | (exact > 1)).any().long().view(1)]).tolist()
    if wrong:
        raise ValueError(f"ratios must be in [0, 1], got {ratio.min().item()} to {ratio.max().item()}")
    return _mask(scores, lengths, guide)


def _mask(scores: Tensor, lengths: list[int], guide: Tensor | None) -> TokenMask:
    """The mask that leaves as many tokens of each image visible, those of the least scores."""
    batch, tokens = scores.shape
    most = max(lengths)
    host = torch.tensor(lengths) if min(lengths) < most else None
    counts = torch.full((batch,), most, device=scores.device) if host is None else to_device(host, scores.device)
    order = scores.argsort(dim=1, stable=True)
    # The inverse of a permutation, without sorting again.
    ranks = torch.arange(tokens, device=scores.device).expand(batch, tokens)
    restore = torch.empty_like(order).scatter_(1, order, ranks)
    hidden = restore >= counts[:, None]
    valid = ranks[:, :most] < counts[:, None]
    return TokenMask(order[:, :most], valid, restore, hidden, counts, host, guide)


def mask_from_hidden(hidden: Bool[Tensor, "batch tokens"]) -> TokenMask:
    """Return the mask of given hidden tokens, whose number may differ between images.

    Raises:
        ValueError: An image has no visible or no hidden token.

    Example:
        >>> mask_from_hidden(torch.tensor([[True, False, False], [True, False, True]])).counts.tolist()
        [2, 1]
    """
    lengths = (~hidden).sum(dim=1).tolist()
    if min(lengths) == 0 or max(lengths) == hidden.shape[1]:
        raise ValueError("every image needs a visible and a hidden token")
    return _mask(hidden.float(), lengths, None)
