"""Sequences of different lengths, two to a row, so that hardly any padding is computed."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from myosotis.engine.processes import to_device


@dataclass(frozen=True)
class Packing:
    """Sequences of a batch in rows: the longest beside the shortest, and so on; of an odd number the longest alone.

    The linear layers of a transformer then compute no more than the tokens that there are, and a little padding where
    pairs differ; attention computes products of both sequences of a row, which it hides.

    Attributes:
        take: Index of each token of the rows in the flattened batch; 0 for padding.
        give: Index of each token of the batch in the flattened rows; any for tokens behind a sequence's end.
        attends: Whether a token of a row, by the second index, may read another: within one sequence.
    """

    take: Int[Tensor, "rows width"]
    give: Int[Tensor, "batch length"]
    attends: Bool[Tensor, "rows 1 width width"]

    def to(self, device: torch.device) -> "Packing":
        """Return the same on a device."""
        return Packing(*(to_device(part, device) for part in (self.take, self.give, self.attends)))

    def pack(self, tokens: Float[Tensor, "batch length dim"]) -> Float[Tensor, "rows width dim"]:
        """Return the rows."""
        return tokens.flatten(0, 1)[self.take]

    def unpack(self, rows: Float[Tensor, "rows width dim"]) -> Float[Tensor, "batch length dim"]:
        """Return the sequences; what lies behind a sequence's end has no meaning."""
        return rows.flatten(0, 1)[self.give]


def packing(lengths: Int[Tensor, " batch"], length: int) -> Packing:
    """Return how to pack a batch.

    Args:
        lengths: Tokens of each sequence, from 1 to ``length``; on the host, as the size of the rows follows from them.
        length: Tokens of a sequence of the batch with its padding.

    Example:
        >>> packed = packing(torch.tensor([1, 3, 2, 2]), 3)
        >>> packed.pack(torch.arange(12.0).view(4, 3, 1))[..., 0].tolist()
        [[3.0, 4.0, 5.0, 0.0], [6.0, 7.0, 9.0, 10.0]]
    """
    batch = len(lengths)
    order = lengths.argsort(descending=True, stable=True)
    alone = batch % 2
    half = batch // 2
    first = order[: alone + half]
    # The partner of the longest is the shortest; a sequence that is alone has none.
    partner = order.flip(0)[:half]
    zeros = lengths.new_zeros(alone)
    firsts, seconds = lengths[first], torch.cat([zeros, lengths[partner]])
    partner = torch.cat([zeros, partner])
    width = int((firsts + seconds).max())
    position = torch.arange(width, device=lengths.device)
    in_first = position < firsts[:, None]
    in_second = ~in_first & (position < (firsts + seconds)[:, None])
    behind = position - firsts[:, None]
    take = torch.where(in_first, first[:, None] * length + position, partner[:, None] * length + behind)
    part = in_first * 1 + in_second * 2
    start = lengths.new_empty(batch)
    rows = torch.arange(len(first), device=lengths.device) * width
    start[first] = rows
    start[partner[alone:]] = (rows + firsts)[alone:]
    tokens = torch.arange(length, device=lengths.device)
    give = start[:, None] + torch.minimum(tokens, lengths[:, None] - 1)
    attends = part[:, :, None] == part[:, None, :]
    return Packing(torch.where(part > 0, take, 0), give, attends[:, None])
