"""An adapting retain weight: the multiplier of a constraint, updated by dual ascent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DualAscent:
    r"""Dual ascent on the multiplier of the constraint that a term stays below a limit.

    $$\lambda \leftarrow \max(0,\ \lambda + \eta\,(L - \varepsilon))$$

    (Entesari et al., "Constrained Entropic Unlearning: A Primal-Dual Framework for Large Language Models", NeurIPS
    2025.)

    Attributes:
        term: Name of the constrained term; the multiplier is its weight.
        limit: Upper limit of the term.
        step_size: Step size of the ascent.
        start: Multiplier before the first step.

    Example:
        >>> ascent = DualAscent("retain_nll", limit=0.5, step_size=2.0, start=1.0)
        >>> ascent.update(1.0, 0.75), ascent.update(1.0, 0.0), ascent.update(0.5, 0.0)
        (1.5, 0.0, 0.0)
    """

    term: str
    limit: float
    step_size: float
    start: float = 1.0

    def update(self, multiplier: float, value: float) -> float:
        """Return the multiplier after a step, from the value that the term had in it."""
        return max(0.0, multiplier + self.step_size * (value - self.limit))
