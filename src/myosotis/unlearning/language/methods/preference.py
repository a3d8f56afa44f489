"""Preference-based unlearning: DPO towards refusals, NPO, SimNPO."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.losses import IGNORED, dpo_loss, npo_loss, sequence_log_probs, simnpo_loss
from myosotis.unlearning.language.methods.method import Alternates, Method
from myosotis.unlearning.language.methods.term import (
    ReferenceKind,
    Side,
    SideName,
    Sides,
    Term,
    Unit,
    reference_log_probs,
)


def _sum_over_sequences(mean: Tensor, side: Side) -> Tensor:
    """The losses are means over the batch; the trainer wants sums over sequences with a label."""
    return mean * (side.labels != IGNORED).any(dim=1).sum()


def _with_labels(side: Side) -> Tensor:
    return (side.labels != IGNORED).any(dim=1)


@dataclass(frozen=True)
class NPOTerm(Term):
    """Negative preference for the forget answers."""

    unit: Unit = "sequence"
    beta: float = 0.1

    name: ClassVar[str] = "forget_npo"
    reads: ClassVar[SideName] = "forget"
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset({("forget", "log_probs")})

    def items(self, sides: Sides) -> Tensor:
        """Return the sum of the losses of the sequences."""
        side = sides.the("forget")
        kept = _with_labels(side)
        log_probs = sequence_log_probs(side.logits, side.labels)
        return _sum_over_sequences(npo_loss(log_probs[kept], reference_log_probs(side)[kept], self.beta), side)


@dataclass(frozen=True)
class SimNPOTerm(Term):
    """Negative preference for the forget answers, normalised by length, without a reference."""

    unit: Unit = "sequence"
    beta: float = 2.5
    gamma: float = 0.0

    name: ClassVar[str] = "forget_simnpo"
    reads: ClassVar[SideName] = "forget"

    def items(self, sides: Sides) -> Tensor:
        """Return the sum of the losses of the sequences."""
        side = sides.the("forget")
        lengths = (side.labels != IGNORED).sum(dim=1)
        log_probs = sequence_log_probs(side.logits, side.labels)
        return _sum_over_sequences(simnpo_loss(log_probs, lengths, self.beta, self.gamma), side)


@dataclass(frozen=True)
class DPOTerm(Term):
    """Preference for the alternate over the forget answer, times 2/beta to give its gradient the scale of NPO's."""

    unit: Unit = "sequence"
    beta: float = 0.1

    name: ClassVar[str] = "forget_dpo"
    reads: ClassVar[SideName] = "forget"
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset(
        {("forget", "log_probs"), ("alternate", "log_probs")}
    )

    def items(self, sides: Sides) -> Tensor:
        """Return the sum of the losses of the sequences."""
        forget, alternate = sides.the("forget"), sides.the("alternate")
        kept = _with_labels(forget)
        preferred, rejected = (sequence_log_probs(side.logits, side.labels)[kept] for side in (alternate, forget))
        loss = dpo_loss(
            preferred, reference_log_probs(alternate)[kept], rejected, reference_log_probs(forget)[kept], self.beta
        )
        return _sum_over_sequences(2 / self.beta * loss, forget)


@dataclass(frozen=True)
class _WithBeta(Method):
    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.beta > 0:
            raise ValueError(f"beta must be > 0, got {self.beta}")
        if self.reduction != "token":
            raise ValueError(f"{self.card.name} works on whole sequences; reduction does not apply to it")


@dataclass(frozen=True)
class NPO(_WithBeta):
    """NPO on the forget set, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="npo",
        title="Negative preference optimisation",
        paper="Zhang, Lin, Bai, Mei, Negative Preference Optimization, COLM 2024",
        reads="forget, retain",
        memory="one reference log-probability per forget record",
        purpose="Ascent that fades as a record is forgotten; the field's strong baseline.",
    )

    def forget_term(self) -> Term:
        """Return the NPO term."""
        return NPOTerm(beta=self.beta)


@dataclass(frozen=True)
class SimNPO(_WithBeta):
    """SimNPO on the forget set, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="simnpo",
        title="Simple NPO",
        paper="Fan et al., Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning, 2024",
        reads="forget, retain",
        memory="none",
        purpose="NPO without a reference; does not favour long records.",
    )
    beta: float = 2.5
    gamma: float = 0.0
    forget_weight: float = 0.1375

    def forget_term(self) -> Term:
        """Return the SimNPO term."""
        return SimNPOTerm(beta=self.beta, gamma=self.gamma)


@dataclass(frozen=True)
class DPO(_WithBeta):
    """DPO from the forget answer towards a refusal, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="dpo",
        title="Direct preference optimisation towards refusals",
        paper="Rafailov et al., NeurIPS 2023; Maini et al., TOFU, COLM 2024",
        reads="forget, retain",
        memory="two reference log-probabilities per forget record",
        purpose="Refusals with an explicit push away from the answer.",
    )
    alternates: ClassVar[Alternates | None] = "refusals"

    def forget_term(self) -> Term:
        """Return the DPO term."""
        return DPOTerm(beta=self.beta)


@dataclass(frozen=True)
class AltPO(DPO):
    """DPO from the forget answer towards another answer of the model's own making, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="altpo",
        title="Alternate preference optimisation",
        paper="Mekala et al., Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs, COLING 2025",
        reads="forget prompts, retain",
        memory="two reference log-probabilities per forget record; the alternates are generated before training",
        purpose="Plausible other answers instead of refusals or nonsense.",
    )
    alternates: ClassVar[Alternates | None] = "generated"
