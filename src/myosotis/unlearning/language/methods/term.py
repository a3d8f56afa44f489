"""The terms of a training loss, and the parts of a batch that they read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.encoding import IGNORED

SideName = Literal["forget", "alternate", "retain"]
"""The parts of a batch: records to forget, alternate answers to them, records to retain."""

ReferenceKind = Literal["log_probs", "logits", "hidden", "teacher"]
"""Outputs of the model before unlearning that a term may read; ``teacher``: for the same record about strangers."""

Needs = frozenset[tuple[SideName, ReferenceKind]]
"""What a term reads of the model before unlearning, by part of the batch."""

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


Labels = Int[Tensor, "batch time"]


def every_label(labels: Labels) -> Labels:
    """Return the labels that a mean over all of them counts."""
    return labels


@dataclass(frozen=True)
class Term:
    """One term of the training loss.

    The trainer sums :meth:`items` over the micro-batches and processes of an optimisation step and divides by the
    number of units in all of them, so that accumulation and the number of processes do not change the loss.

    Attributes:
        name: Name in logs: the side, then the loss.
        losses: Function from the parts of a batch to losses, (batch, time) with 0 at ignored positions, or one for each
            sequence with a label.
        reads: Part of the batch whose units are counted.
        unit: Unit of the mean.
        needs: Outputs of the model before unlearning that it reads, by part.
        blocks: Blocks whose outputs it reads, counted from 0.
        counted: Function from labels to those that the mean counts: all of them, unless a loss skips some.
    """

    name: str
    losses: Callable[[Sides], Float[Tensor, "..."]]
    reads: SideName = "forget"
    unit: Unit = "token"
    needs: Needs = frozenset()
    blocks: tuple[int, ...] = ()
    counted: Callable[[Labels], Labels] = every_label

    @property
    def sides(self) -> frozenset[SideName]:
        """The parts of a batch that it reads."""
        return frozenset({self.reads, *(side for side, _ in self.needs)})

    def items(self, sides: Sides) -> Float[Tensor, "..."]:
        """Return the losses of the units; the trainer averages them over the whole step."""
        values = self.losses(sides)
        if self.unit == "token" or values.ndim == 1:
            return values
        labelled = self.counted(sides.the(self.reads).labels) != IGNORED
        return values.sum(dim=1) / labelled.sum(dim=1).clamp(min=1)


WeightedTerm = tuple[float, Term]


def count_units(labels: Int[Tensor, "batch time"], unit: Unit) -> Int[Tensor, ""]:
    """Return how many labelled tokens, or sequences with a label, there are."""
    labelled = labels != IGNORED
    return labelled.sum() if unit == "token" else labelled.any(dim=1).sum()


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
