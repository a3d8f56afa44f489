"""The terms of a training loss, and the parts of a batch that they read."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.token_losses import Reduction

SideName = Literal["forget", "alternate", "retain"]
"""The parts of a batch: records to forget, alternate answers to them, records to retain."""

ReferenceKind = Literal["log_probs", "logits", "hidden", "teacher"]
"""Outputs of the model before unlearning that a term may read; ``teacher``: for the same record about strangers."""

Unit = Literal["token", "sequence"]


@dataclass
class Side:
    """The part of a batch that a term reads, already shifted.

    Positions that no row of the batch labels may be left out; losses mask them anyway.

    Attributes:
        labels: (batch, time), -100 where ignored.
        logits: (batch, time, vocab) of the model.
        hidden: Outputs (batch, time, width) of the blocks that terms read, by the block's number.
        reference_logits: Logits before unlearning, where a term reads them.
        reference_log_probs: Sequence log-probabilities (batch,) before unlearning, where a term reads them.
        reference_hidden: Outputs of blocks before unlearning, where a term reads them.
        teacher: Log-probabilities of a counterfactual teacher, where a term reads them.
    """

    labels: Int[Tensor, "batch time"]
    logits: Float[Tensor, "batch time vocab"]
    hidden: Mapping[int, Float[Tensor, "batch time width"]] = field(default_factory=dict)
    reference_logits: Float[Tensor, "batch time vocab"] | None = None
    reference_log_probs: Float[Tensor, " batch"] | None = None
    reference_hidden: Mapping[int, Float[Tensor, "batch time width"]] = field(default_factory=dict)
    teacher: Float[Tensor, "batch time vocab"] | None = None


@dataclass
class Sides:
    """The three parts of a batch; alternate and retain only where a term reads them."""

    forget: Side
    alternate: Side | None = None
    retain: Side | None = None

    def the(self, name: SideName) -> Side:
        """Return a part that the batch must have.

        Raises:
            ValueError: The batch has no such part.
        """
        side = getattr(self, name)
        if not isinstance(side, Side):
            raise ValueError(f"this method reads the {name} side, but the batch has none")
        return side


@dataclass(frozen=True)
class Term(ABC):
    """One term of the training loss.

    The trainer sums ``items`` over the micro-batches and processes of an optimisation step and divides by the number
    of units in all of them, so that accumulation and the number of processes do not change the loss.

    Attributes:
        unit: Unit of the mean.
        name: Name in logs: the side, then the loss.
        reads: Part of the batch whose units are counted.
        needs: Outputs of the model before unlearning that it reads, by part.
    """

    unit: Unit = "token"

    name: ClassVar[str]
    reads: ClassVar[SideName]
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset()

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks whose outputs it reads, counted from 0."""
        return ()

    @property
    def sides(self) -> frozenset[SideName]:
        """The parts of a batch that it reads."""
        return frozenset({self.reads, *(side for side, _ in self.needs)})

    def counted(self, labels: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
        """Return the labels that the mean counts: all of them, unless a loss skips some."""
        return labels

    @abstractmethod
    def items(self, sides: Sides) -> Float[Tensor, "..."]:
        """Return the losses of the units; the trainer averages them over the whole step."""


WeightedTerm = tuple[float, Term]


def count_units(labels: Int[Tensor, "batch time"], unit: Unit) -> Int[Tensor, ""]:
    """Return how many labelled tokens, or sequences with a label, there are."""
    labelled = labels != IGNORED
    return labelled.sum() if unit == "token" else labelled.any(dim=1).sum()


def per_unit(
    values: Float[Tensor, "batch time"], labels: Int[Tensor, "batch time"], reduction: Reduction
) -> Float[Tensor, "..."]:
    """Return per-token values as they are, or their means per sequence, to match a term's unit."""
    if reduction == "token":
        return values
    return values.sum(dim=1) / (labels != IGNORED).sum(dim=1).clamp(min=1)


def reference_log_probs(side: Side) -> Float[Tensor, " batch"]:
    """Return the sequence log-probabilities before unlearning.

    Raises:
        ValueError: The batch has none.
    """
    if side.reference_log_probs is None:
        raise ValueError("this loss needs reference log-probabilities, but the batch has none")
    return side.reference_log_probs


def reference_logits(side: Side) -> Float[Tensor, "batch time vocab"]:
    """Return the logits before unlearning.

    Raises:
        ValueError: The batch has none.
    """
    if side.reference_logits is None:
        raise ValueError("this loss needs reference logits, but the batch has none")
    return side.reference_logits
