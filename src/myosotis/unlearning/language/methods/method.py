"""What a method is made of: a forget term, and maybe a retain term, each with its own unit of counting."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.losses import IGNORED, Reduction

RetainName = Literal["nll", "kl"]


@dataclass
class Side:
    """The part of a batch that a term reads, already shifted.

    Attributes:
        labels: (batch, time), -100 where ignored.
        logits: (batch, time, vocab) of the model.
        reference_logits: The same before unlearning, where a term asked for them.
        reference_log_probs: Sequence log-probabilities (batch,) before unlearning, where a term asked for them.
    """

    labels: Int[Tensor, "batch time"]
    logits: Float[Tensor, "batch time vocab"]
    reference_logits: Float[Tensor, "batch time vocab"] | None = None
    reference_log_probs: Float[Tensor, " batch"] | None = None


@dataclass
class Sides:
    """The three parts of a batch; refusal and retain only where a term reads them."""

    forget: Side
    refusal: Side | None = None
    retain: Side | None = None

    def the(self, name: Literal["forget", "refusal", "retain"]) -> Side:
        """Return a part that must be there."""
        side = getattr(self, name)
        if not isinstance(side, Side):
            raise ValueError(f"this method reads the {name} side, but the batch has none")
        return side


@runtime_checkable
class Term(Protocol):
    """One summand of the training loss.

    The trainer sums ``items`` over the micro-batches and processes of an optimisation step and divides by the number
    of units in all of them, so that accumulation and the number of processes do not change the loss.
    """

    @property
    def name(self) -> str:
        """What the term is called in logs."""
        ...

    @property
    def reads(self) -> Literal["forget", "refusal", "retain"]:
        """The part of the batch whose units are counted."""
        ...

    @property
    def unit(self) -> Literal["token", "sequence"]:
        """What the mean is taken over."""
        ...

    def items(self, sides: Sides) -> Float[Tensor, "..."]:
        """Return the losses whose sum, over the units of the whole step, is averaged."""
        ...


def count_units(labels: Int[Tensor, "batch time"], unit: Literal["token", "sequence"]) -> Int[Tensor, ""]:
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


@dataclass(frozen=True)
class Method(ABC):
    """A forget term and the retain term that the paper pairs it with; subclasses add settings.

    Attributes:
        retain: ``"nll"``, ``"kl"``, or None for no retain term.
        retain_weight: Of the retain term.
        forget_weight: Of the forget term.
    """

    card: ClassVar[MethodCard]
    needs_refusals: ClassVar[bool] = False
    needs_reference_log_probs: ClassVar[bool] = False

    retain: RetainName | None = "nll"
    retain_weight: float = 1.0
    forget_weight: float = 1.0
    reduction: Literal["token", "sequence"] = field(default="token", kw_only=True)

    def __post_init__(self) -> None:
        if self.retain not in (None, "nll", "kl"):
            raise ValueError(f"retain must be 'nll', 'kl' or None, got {self.retain!r}")
        if self.retain_weight < 0 or self.forget_weight <= 0:
            raise ValueError("retain_weight must be >= 0 and forget_weight > 0")

    @abstractmethod
    def forget_term(self) -> Term:
        """Return the term that forgets."""
