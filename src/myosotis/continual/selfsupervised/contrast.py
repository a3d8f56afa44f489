"""Contrast with a queue: the loss of one anchor, and the queue that its negatives come from."""

from collections.abc import Iterable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]
"""The same for both views of a batch."""

Reset = Literal["refill", "carry", "random", "empty"]


def nce(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    negatives: Float[Tensor, "size dim"],
    temperature: float,
    excluded: Bool[Tensor, "batch size"] | None = None,
) -> Float[Tensor, ""]:
    """Return InfoNCE with given negatives, ``-log e^(a·b/τ) / (e^(a·b/τ) + sum_s e^(a·s/τ))``, the mean over the batch.

    Vectors are taken as they are; normalise them first. In single precision or better whatever comes in.

    Args:
        anchor: Gradients reach it.
        positive: One for each anchor.
        negatives: Shared by all anchors; may be none.
        temperature: τ.
        excluded: Which negatives do not count for which anchor.

    Raises:
        ValueError: The temperature is not positive.

    Example:
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(nce(one, one, other, 1.0).item(), 4)
        0.3133
    """
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    with torch.autocast(anchor.device.type, enabled=False):
        own, other, rest = (at_least_single(one) for one in (anchor, positive, negatives))
        right = (own * other).sum(dim=1, keepdim=True) / temperature
        wrong = own @ rest.T / temperature
        if excluded is not None:
            wrong = wrong.masked_fill(excluded, -torch.inf)
        return (torch.cat([right, wrong], dim=1).logsumexp(dim=1) - right[:, 0]).mean()


class EmbeddingQueue(nn.Module):
    """The last embeddings of each view, first in, first out; all of its state is in the state dict.

    Args:
        size: Embeddings of each view.
        dim: Of an embedding.
        views: How many there are; they never mix.

    Raises:
        ValueError: A number is not positive.

    Example:
        >>> queue = EmbeddingQueue(3, 2)
        >>> queue.push((torch.ones(2, 2), -torch.ones(2, 2)))
        >>> len(queue), queue.negatives(1)[:, 0].tolist()
        (2, [-1.0, -1.0])
    """

    rows: Tensor
    samples: Tensor
    pointer: Tensor
    valid: Tensor

    def __init__(self, size: int, dim: int, views: int = 2) -> None:
        super().__init__()
        if min(size, dim, views) < 1:
            raise ValueError(f"size, dim and views must be positive, got {size}, {dim} and {views}")
        self.size = size
        self.register_buffer("rows", torch.zeros(views, size, dim))
        self.register_buffer("samples", torch.full((size,), -1, dtype=torch.long))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("valid", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return int(self.valid)

    @torch.no_grad()
    def push(self, embeddings: tuple[Tensor, ...], samples: Int[Tensor, " batch"] | None = None) -> None:
        """Take in a batch; the oldest go.

        Args:
            embeddings: (batch, dim) of each view.
            samples: Numbers of the samples, for :meth:`same`.

        Raises:
            ValueError: The batch is larger than the queue.
        """
        count = len(embeddings[0])
        if count > self.size:
            raise ValueError(f"a batch of {count} does not fit into a queue of {self.size}")
        places = (int(self.pointer) + torch.arange(count, device=self.rows.device)) % self.size
        self.rows[:, places] = torch.stack([one.detach().to(self.rows) for one in embeddings])
        self.samples[places] = -1 if samples is None else samples.to(self.samples.device)
        self.pointer.add_(count).remainder_(self.size)
        self.valid.add_(count).clamp_(max=self.size)

    def negatives(self, view: int) -> Float[Tensor, "valid dim"]:
        """Return a copy of what is in it, in no order that matters."""
        return self.rows[view, : len(self)].clone()

    def same(self, samples: Int[Tensor, " batch"]) -> Bool[Tensor, "batch valid"]:
        """Return which of the negatives are of the same sample as each of these."""
        return samples.to(self.samples.device)[:, None] == self.samples[None, : len(self)]

    @torch.no_grad()
    def reset(
        self,
        policy: Reset = "refill",
        batches: Iterable[tuple[tuple[Tensor, ...], Tensor | None]] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Get ready for a task.

        Args:
            policy: ``"carry"`` leaves it; ``"empty"`` forgets everything; ``"random"`` fills it with random unit
                vectors; ``"refill"`` with ``batches``, as far as they go.
            batches: Embeddings and numbers of samples, see :meth:`push`.
            generator: Of ``"random"``.
        """
        if policy == "carry":
            return
        self.pointer.zero_()
        self.valid.zero_()
        self.samples.fill_(-1)
        if policy == "random":
            drawn = torch.randn(self.rows.shape, generator=generator)
            self.rows.copy_(functional.normalize(drawn, dim=-1))
            self.valid.fill_(self.size)
        elif policy == "refill":
            for embeddings, samples in batches:
                self.push(embeddings, samples)
                if len(self) == self.size:
                    break


def at_least_single(tensor: Tensor) -> Tensor:
    """Return a tensor in single precision if it is in half."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def unit_pair(pair: Pair) -> Pair:
    """Return both scaled to length 1, in single precision or better."""
    return functional.normalize(at_least_single(pair[0]), dim=1), functional.normalize(at_least_single(pair[1]), dim=1)
