"""The weight of a constrained term, which dual ascent moves after every optimisation step."""

from collections.abc import Callable

import torch
from torch import Tensor

from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.term import Term


class DualWeight:
    """State of the dual ascent of a method.

    Args:
        ascent: The ascent; None where the method has fixed weights.
        device: Device of the losses.

    Attributes:
        multiplier: The present weight of the constrained term; None without an ascent.
    """

    def __init__(self, ascent: DualAscent | None, device: torch.device) -> None:
        self._ascent = ascent
        self._sum = torch.zeros((), device=device)
        self.multiplier = None if ascent is None else ascent.start

    def weight(self, weight: float, term: Term) -> float:
        """Return the multiplier for the constrained term, and for others the weight that was given."""
        constrained = self._ascent is not None and term.name == self._ascent.term
        return self.multiplier if constrained and self.multiplier is not None else weight

    def add(self, term: Term, value: Tensor) -> None:
        """Add a micro-batch's share of a term to the mean over the step."""
        if self._ascent is not None and term.name == self._ascent.term:
            self._sum += value

    def update(self, reduce: Callable[[Tensor], Tensor]) -> None:
        """Move the multiplier by the constrained term's mean over the step that has just been done.

        Args:
            reduce: Sums a tensor over all processes.
        """
        if self._ascent is None or self.multiplier is None:
            return
        self.multiplier = self._ascent.update(self.multiplier, float(reduce(self._sum)))
        self._sum = torch.zeros_like(self._sum)
