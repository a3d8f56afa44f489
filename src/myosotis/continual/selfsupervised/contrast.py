"""Contrast with a queue: the loss, and the queue of the negatives."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[Tensor, Tensor]
"""The same for both views of a batch."""

Reset = Literal["refill", "carry", "random", "empty"]


_CHUNK = {"cpu": 1024}
_CHUNK_ON_A_DEVICE = 2**16
"""Negatives that are compared at a time: on a CPU their products with a batch stay in its cache."""


def nce(
    anchor: Float[Tensor, "batch dim"],
    positive: Float[Tensor, "batch dim"],
    negatives: Tensor | Sequence[Tensor],
    temperature: float,
    excluded: Tensor | Sequence[Tensor | None] | None = None,
) -> Float[Tensor, ""]:
    """Return InfoNCE with given negatives, ``-log e^(a·b/τ) / (e^(a·b/τ) + sum_s e^(a·s/τ))``, the mean over the batch.

    Vectors are not normalised here. Computed in at least single precision, over some negatives at a time: no matrix of
    batch by negatives is stored. The gradient of the anchors is computed in the same pass, so that negatives may change
    before ``backward``.

    Args:
        anchor: Embeddings in training.
        positive: Positive of each anchor.
        negatives: Negatives of all anchors, (size, dim), or several such sets; may be empty. They get no gradient.
        temperature: Temperature τ of the contrastive loss.
        excluded: (batch, size), whether a negative does not count for an anchor; one, or None, for each set.

    Raises:
        ValueError: The temperature is not positive.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> round(nce(a, a, b, 1.0).item(), 4)
        0.3133
    """
    if temperature <= 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    sets = [negatives] if isinstance(negatives, Tensor) else list(negatives)
    masks = [excluded] * len(sets) if excluded is None or isinstance(excluded, Tensor) else list(excluded)
    with torch.autocast(anchor.device.type, enabled=False):
        a, b = at_least_single(anchor), at_least_single(positive)
        correct = (a * b).sum(dim=1) / temperature
        total: Tensor = _LogSumExp.apply(a / temperature, correct, sets, masks)  # type: ignore[no-untyped-call]
        return (total - correct).mean()


class _LogSumExp(torch.autograd.Function):
    """``log(e^c + sum_s e^(a·s))`` for each row a with its own c, in one pass over the rows s."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, c: Tensor, sets: Sequence[Tensor], masks: Sequence[Tensor | None]
    ) -> Float[Tensor, " batch"]:
        """Return the logarithms; what their gradients need is added up beside them, relative to the largest so far."""
        largest, total, weighted = c.clone(), torch.ones_like(c), torch.zeros_like(a)
        size = _CHUNK.get(a.device.type, _CHUNK_ON_A_DEVICE)
        for rows, mask in zip(sets, masks, strict=True):
            for begin in range(0, len(rows), size):
                part = rows[begin : begin + size].to(a.dtype)
                products = a @ part.T
                if mask is not None:
                    products.masked_fill_(mask[:, begin : begin + size], -torch.inf)
                above = torch.maximum(largest, products.amax(1))
                shrunk = (largest - above).exp_()
                products.sub_(above[:, None]).exp_()
                total.mul_(shrunk).add_(products.sum(1))
                weighted.mul_(shrunk[:, None]).addmm_(products, part)
                largest = above
        result = largest + total.log()
        ctx.save_for_backward(weighted / total[:, None], (c - result).exp())
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of ``a`` and ``c``."""
        of_rows, of_c = ctx.saved_tensors
        return gradient[:, None] * of_rows, gradient * of_c, None, None


class EmbeddingQueue(nn.Module):
    """The last embeddings of each view, first in, first out; all of its state is in the state dict.

    Args:
        size: Number of embeddings of each view.
        dim: Number of entries of an embedding.
        views: Number of views, which do not mix.

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
        # The same as numbers: a buffer on a device would have to be waited for.
        self._next, self._count = 0, 0
        self.register_load_state_dict_post_hook(_read_counts)  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self._count

    @torch.no_grad()
    def push(self, embeddings: tuple[Tensor, ...], samples: Int[Tensor, " batch"] | None = None) -> None:
        """Append a batch, replacing the oldest embeddings.

        Args:
            embeddings: (batch, dim) of each view.
            samples: Indices of the samples, for :meth:`same`.

        Raises:
            ValueError: The batch is larger than the queue.
        """
        count = len(embeddings[0])
        if count > self.size:
            raise ValueError(f"a batch of {count} does not fit into a queue of {self.size}")
        slots = (self._next + torch.arange(count, device=self.rows.device)) % self.size
        self.rows[:, slots] = torch.stack([rows.detach().to(self.rows) for rows in embeddings])
        self.samples[slots] = -1 if samples is None else samples.to(self.samples.device)
        self._set_counts((self._next + count) % self.size, min(self._count + count, self.size))

    def negatives(self, view: int) -> Float[Tensor, "valid dim"]:
        """Return the embeddings of a view, in no particular order: not a copy, so :meth:`push` changes them."""
        return self.rows[view, : len(self)]

    def same(self, samples: Int[Tensor, " batch"]) -> Bool[Tensor, "batch valid"]:
        """Return whether a negative is of the same sample, for each of these samples."""
        return samples.to(self.samples.device)[:, None] == self.samples[None, : len(self)]

    @torch.no_grad()
    def reset(
        self,
        policy: Reset = "refill",
        batches: Iterable[tuple[tuple[Tensor, ...], Tensor | None]] = (),
        generator: torch.Generator | None = None,
    ) -> None:
        """Prepare the queue for a task.

        Args:
            policy: ``"carry"`` leaves it; ``"empty"`` removes all embeddings; ``"random"`` fills it with random unit
                vectors; ``"refill"`` with ``batches``, as far as they last.
            batches: Embeddings and indices of samples, see :meth:`push`.
            generator: Generator of ``"random"``.
        """
        if policy == "carry":
            return
        self._set_counts(0, 0)
        self.samples.fill_(-1)
        if policy == "random":
            drawn = torch.randn(self.rows.shape, generator=generator)
            self.rows.copy_(functional.normalize(drawn, dim=-1))
            self._set_counts(0, self.size)
        elif policy == "refill":
            for embeddings, samples in batches:
                self.push(embeddings, samples)
                if len(self) == self.size:
                    break

    def _set_counts(self, following: int, count: int) -> None:
        self._next, self._count = following, count
        self.pointer.fill_(following)
        self.valid.fill_(count)


def _read_counts(queue: EmbeddingQueue, _: Any) -> None:
    """Take the numbers of a queue from its state dict, which has just been loaded."""
    queue._next, queue._count = int(queue.pointer), int(queue.valid)


def at_least_single(tensor: Tensor) -> Tensor:
    """Return a tensor in at least single precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def unit_pair(pair: Pair) -> Pair:
    """Return both scaled to length 1, in single precision or better."""
    return functional.normalize(at_least_single(pair[0]), dim=1), functional.normalize(at_least_single(pair[1]), dim=1)
