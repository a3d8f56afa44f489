"""What the losses of preference optimisation share: they compare whole sequences, by a temperature beta."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import Side, Unit

SequenceReduction = Literal["mean", "none"]


def check_beta(beta: float) -> None:
    """Raise ``ValueError`` unless the inverse temperature is positive."""
    if not beta > 0:
        raise ValueError(f"beta must be > 0, got {beta}")


def reduce_sequences(values: Float[Tensor, " _"], reduction: SequenceReduction) -> Float[Tensor, "..."]:
    """Return the mean, 0 where there is no value; or with ``"none"`` the values as they are."""
    return values if reduction == "none" else values.sum() / max(values.numel(), 1)


def has_labels(side: Side) -> Bool[Tensor, " batch"]:
    """Return which sequences have a label."""
    return (side.labels != IGNORED).any(dim=1)


@dataclass(frozen=True)
class SequencePreference(Method):
    """A preference method: one loss per sequence.

    Attributes:
        beta: Inverse temperature, > 0.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beta(self.beta)
        if self.reduction != "token":
            raise ValueError(f"{self.card.name} works on whole sequences; reduction does not apply to it")

    @property
    def unit(self) -> Unit:
        return "sequence"
