"""The meaning of a network's logits, and the losses of learning with clean symbols or from noisy ones alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.denoising.channel import Channel, Numbers
from myosotis.denoising.mappings import (
    check_loss,
    head_estimate,
    loss_estimate,
    pseudo_labels,
    reduced_mappings,
    supervised_labels,
)
from myosotis.engine.errors import SettingsError

HeadName = Literal["mapping", "factorised", "posterior"]


class Head(ABC):
    """From logits to losses and to decisions, for one channel and one loss.

    Args:
        channel: The noise; as many noisy symbols as clean ones.
        loss: (clean, reconstructed); Hamming's unless given.
    """

    name: ClassVar[HeadName]

    def __init__(self, channel: Channel, loss: Numbers | None = None) -> None:
        if channel.inputs != channel.outputs:
            raise SettingsError("a network needs a channel with as many noisy symbols as clean ones")
        self.channel, self.loss = channel, check_loss(channel, loss)
        if self.loss.shape[1] != channel.outputs:
            raise SettingsError("a network reconstructs noisy symbols: the loss must be square")
        self.symbols = channel.outputs

    @classmethod
    @abstractmethod
    def width(cls, symbols: int) -> int:
        """Return the number of logits for an alphabet."""

    @abstractmethod
    def adaptive(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols"]:
        """Return the loss for each possible noisy symbol in the context."""

    @abstractmethod
    def supervised(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch clean symbols"]:
        """Return the loss for each clean and each noisy symbol."""

    @abstractmethod
    def decisions(self, logits: Float[Tensor, "batch width"]) -> Tensor:
        """Return the reconstruction of each noisy symbol, (batch, symbols)."""

    @abstractmethod
    def posterior(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols clean"]:
        """Return the posterior of each clean symbol, for each possible noisy symbol."""


def _tensor(values: Numbers, like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device)


class MappingHead(Head):
    """A softmax over mappings: keep the symbol, or a constant (Moon et al. 2016; Cha et al. 2021).

    From noisy symbols: ``-sum_s Y[z, s] log p(s)`` with :func:`~myosotis.denoising.mappings.pseudo_labels`. Its
    minimiser without parameter sharing is DUDE. Of more than two symbols it leaves most mappings out.
    """

    name = "mapping"

    def __init__(self, channel: Channel, loss: Numbers | None = None) -> None:
        super().__init__(channel, loss)
        self.mappings = reduced_mappings(self.symbols)
        self._adaptive = pseudo_labels(loss_estimate(channel, self.loss, self.mappings))
        self._supervised = supervised_labels(self.loss, self.mappings)

    @classmethod
    def width(cls, symbols: int) -> int:
        return symbols + 1

    def adaptive(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols"]:
        return -logits.log_softmax(dim=1) @ _tensor(self._adaptive, logits).T

    def supervised(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch clean symbols"]:
        return -torch.einsum("bs,xzs->bxz", logits.log_softmax(dim=1), _tensor(self._supervised, logits))

    def decisions(self, logits: Float[Tensor, "batch width"]) -> Tensor:
        return torch.as_tensor(self.mappings, device=logits.device)[logits.argmax(dim=1)]

    def posterior(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols clean"]:
        """Return the probability of each constant, and that of keeping for the symbol itself."""
        p = logits.softmax(dim=1)
        return p[:, None, 1:] + p[:, :1, None] * torch.eye(self.symbols, dtype=p.dtype, device=p.device)


class FactorisedHead(Head):
    """A softmax over reconstructions for each possible noisy symbol: all mappings, in parts that add up.

    Clean symbols label every head with ``max H - matrix[x, w] loss[x, h]``, the expectation of what noisy ones label
    it with; one-hot labels would have to be unlearnt first.
    """

    name = "factorised"

    def __init__(self, channel: Channel, loss: Numbers | None = None) -> None:
        super().__init__(channel, loss)
        parts = head_estimate(channel, self.loss)
        self._adaptive = parts.max() - parts
        expected = channel.matrix[:, :, None] * self.loss[:, None, :]
        self.labels: Numbers = np.asarray(parts.max() - expected)

    @classmethod
    def width(cls, symbols: int) -> int:
        return symbols * symbols

    def _heads(self, logits: Tensor) -> Tensor:
        return logits.view(-1, self.symbols, self.symbols)

    def adaptive(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols"]:
        logs = self._heads(logits).log_softmax(dim=2)
        return -torch.einsum("bwh,zwh->bz", logs, _tensor(self._adaptive, logits))

    def supervised(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch clean symbols"]:
        """Return the loss for each clean symbol; the noisy one does not matter."""
        losses = -torch.einsum("bwh,xwh->bx", self._heads(logits).log_softmax(dim=2), _tensor(self.labels, logits))
        return losses[:, :, None].expand(-1, -1, self.symbols)

    def decisions(self, logits: Float[Tensor, "batch width"]) -> Tensor:
        return self._heads(logits).argmax(dim=2)

    def posterior(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols clean"]:
        """Return the softmax of each head."""
        return self._heads(logits).softmax(dim=2)


def mixed_supervised(
    heads: Sequence[FactorisedHead], sequence: Int[Tensor, " batch"], logits: Float[Tensor, "batch width"]
) -> Float[Tensor, "batch clean symbols"]:
    """Return the loss with clean symbols where each context has its own head, and channel.

    Args:
        heads: Heads of all sequences.
        sequence: Index of the head of each context.
        logits: Logits of each context.
    """
    used, which = sequence.unique(return_inverse=True)
    tables, symbols = np.stack([heads[number].labels for number in used.tolist()]), heads[0].symbols
    labels = _tensor(tables, logits)[which.to(logits.device)]
    losses = -torch.einsum("bwh,bxwh->bx", logits.view(-1, symbols, symbols).log_softmax(dim=2), labels)
    return losses[:, :, None].expand(-1, -1, symbols)


class PosteriorHead(Head):
    """A softmax over clean symbols, given the context: q(x|c), learnt through the channel.

    From noisy symbols: ``-log sum_x q(x|c) matrix[x, z]``, a likelihood corrected for the noise; with clean ones:
    ``-log q(x|c)``. A symbol z becomes ``argmin_h sum_x q(x|c) matrix[x, z] loss[x, h]``. Not in the papers; of more
    than two symbols it learns from far fewer of them.
    """

    name = "posterior"

    @classmethod
    def width(cls, symbols: int) -> int:
        return symbols

    def adaptive(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols"]:
        likely = logits.softmax(dim=1) @ _tensor(self.channel.matrix, logits)
        return -likely.clamp(min=1e-12).log()

    def supervised(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch clean symbols"]:
        """Return the loss for each clean symbol; the noisy one does not matter."""
        return -logits.log_softmax(dim=1)[:, :, None].expand(-1, -1, self.symbols)

    def decisions(self, logits: Float[Tensor, "batch width"]) -> Tensor:
        weights = np.einsum("xz,xh->xzh", self.channel.matrix, self.loss)
        scores = torch.einsum("bx,xzh->bzh", logits.softmax(dim=1), _tensor(weights, logits))
        return scores.argmin(dim=2)

    def posterior(self, logits: Float[Tensor, "batch width"]) -> Float[Tensor, "batch symbols clean"]:
        """Return q(x|c) matrix[x, z], normalised over x."""
        joint = logits.softmax(dim=1)[:, None, :] * _tensor(self.channel.matrix.T, logits)[None]
        return functional.normalize(joint, p=1.0, dim=2)


HEADS: Mapping[str, type[Head]] = MappingProxyType(
    {head.name: head for head in (MappingHead, FactorisedHead, PosteriorHead)}
)
"""Every head by its name."""


def default_head(symbols: int) -> HeadName:
    """Return the default head of an alphabet: that of the papers for bits, the posterior for more symbols."""
    return "mapping" if symbols == 2 else "posterior"
