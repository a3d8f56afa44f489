"""The base class of methods: weighted terms, and how their gradients are combined."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.retain import RETAIN_TERMS, RetainName
from myosotis.unlearning.language.methods.term import (
    Labels,
    Needs,
    SideName,
    Sides,
    Term,
    Unit,
    WeightedTerm,
    every_label,
)

Alternates = Literal["refusals", "generated"]
"""The source of the answers that are said instead of a forget answer."""

Projection = Literal["conflict"]


@dataclass(frozen=True)
class Method(ABC):
    """A forget term and the retain term that the paper pairs it with; subclasses add settings.

    Class attributes describe the forget term as those of :class:`~myosotis.unlearning.language.methods.term.Term` do:
    ``term``, its name, ``forget_`` and the method's unless given; ``forgets``, the part that it reads; and ``needs``.

    Attributes:
        retain: ``"nll"``, ``"kl"``, or None for no retain term.
        retain_weight: Weight of the retain term.
        forget_weight: Weight of the forget term.
        reduction: Whether the forget term is a mean over tokens, or over sequences of their means.
        projection: ``"conflict"`` removes the part of the forget gradient that opposes the retain gradient, see
            :func:`~myosotis.unlearning.language.methods.projection.project_conflict`.
    """

    card: ClassVar[MethodCard]
    term: ClassVar[str | None] = None
    forgets: ClassVar[SideName] = "forget"
    needs: ClassVar[Needs] = frozenset()
    alternates: ClassVar[Alternates | None] = None
    retain_choices: ClassVar[tuple[str | None, ...]] = (None, "nll", "kl")

    retain: RetainName | None = "nll"
    retain_weight: float = 1.0
    forget_weight: float = 1.0
    reduction: Unit = field(default="token", kw_only=True)
    projection: Projection | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.retain not in self.retain_choices:
            choices = ", ".join(str(choice) for choice in self.retain_choices)
            raise ValueError(f"retain must be one of {choices}, got {self.retain!r}")
        if self.retain_weight < 0 or self.forget_weight <= 0:
            raise ValueError("retain_weight must be >= 0 and forget_weight > 0")
        if self.projection is not None and not self.reads("retain"):
            raise ValueError(
                "projection needs a retain term: it compares the forget gradient with that of the retain term"
            )

    @abstractmethod
    def losses(self, sides: Sides) -> Float[Tensor, "..."]:
        """Return the losses of the forget term: (batch, time), 0 at ignored positions, or one for each sequence."""

    def counted(self, labels: Labels) -> Labels:
        """Return the labels that carry a loss: all of them, unless a method skips some."""
        return every_label(labels)

    @property
    def unit(self) -> Unit:
        """What the forget term is a mean over."""
        return self.reduction

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks whose outputs the forget term reads, counted from 0."""
        return ()

    def forget_term(self) -> Term:
        """Return the term that forgets."""
        name = self.term or f"forget_{self.card.name}"
        return Term(name, self.losses, self.forgets, self.unit, self.needs, self.blocks, self.counted)

    def terms(self) -> list[WeightedTerm]:
        """Return every term of the loss with its weight; their names differ."""
        retain = self.retain_term()
        terms: list[WeightedTerm] = [(self.forget_weight, self.forget_term())]
        return terms if retain is None else [*terms, (self.retain_weight, retain)]

    def retain_term(self) -> Term | None:
        """Return the term that retains the rest, if there is one."""
        return None if self.retain is None else RETAIN_TERMS[self.retain]

    @property
    def dual(self) -> DualAscent | None:
        """The dual ascent of a retain term's weight; None for a fixed weight."""
        return None

    @property
    def teacher_model(self) -> str | None:
        """Which model, that never saw the records to forget, the trainer must be given as a teacher; None for none."""
        return None

    @property
    def strangers(self) -> tuple[int, int] | None:
        """Invented names to average and to try for a counterfactual teacher; None without one."""
        return None

    @property
    def negation(self) -> float | None:
        """The factor by which the change of the weights is negated once training has ended; None for no negation."""
        return None

    def reads(self, side: SideName) -> bool:
        """Whether a term reads a part of the batch."""
        return any(side in term.sides for _, term in self.terms())
