"""The training loss: a weighted sum of terms, each a mean over a whole optimisation step."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.term import Side, SideName, Sides, Term, WeightedTerm, count_units
from myosotis.unlearning.language.training.forward_pass import Shifted
from myosotis.unlearning.language.training.pairing import labels_of
from myosotis.unlearning.language.training.references import References

Reduce = Callable[[Tensor], Tensor]
"""Sums a tensor over all processes."""


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


class StepLoss:
    """The loss of a micro-batch, and the running mean of every term.

    Args:
        terms: The terms with their weights.
        ascent: How the weight of one of them adapts, if it does.
        references: What the terms read of the model before unlearning.
        device: Device of the losses.

    Attributes:
        dual: The adapting weight.
    """

    def __init__(
        self, terms: Sequence[WeightedTerm], ascent: DualAscent | None, references: References, device: torch.device
    ) -> None:
        self._terms = terms
        self.dual = DualWeight(ascent, device)
        self._references = references
        self._sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
        self._logged_step = 0

    def begin(self, step: int) -> None:
        """Begin, or go on, after a number of optimisation steps."""
        self._logged_step = step

    def count_units(self, batches: Iterable[Mapping[str, Tensor]], device: torch.device) -> Tensor:
        """Return, by term, how many units the micro-batches hold."""
        counts = torch.zeros(len(self._terms), device=device)
        for batch in batches:
            for index, (_, term) in enumerate(self._terms):
                counts[index] += count_units(term.counted(labels_of(batch, term.reads)), term.unit).to(device)
        return counts

    def sides(self, shifted: Shifted, batch: Mapping[str, Tensor]) -> Sides:
        """Return the parts of a batch that terms read, with their references."""
        ends = batch["parts"].cumsum(0).tolist()
        forget_rows, retain_rows = batch["forget_index"].tolist(), batch["retain_index"].tolist()
        rows_of: dict[SideName, list[int]] = {
            "forget": forget_rows,
            "alternate": forget_rows,
            "retain": retain_rows,
        }
        sides: dict[str, Side] = {}
        for (name, rows), begin, end in zip(rows_of.items(), [0, *ends[:-1]], ends, strict=True):
            if end > begin:
                part = slice(begin, end)
                hidden = {block: states[part] for block, states in shifted.hidden.items()}
                sides[name] = Side(shifted.labels[part], shifted.logits[part], hidden)
                self._references.attach(name, sides[name], rows)
        return Sides(**sides)

    def weighted_values(
        self, sides: Sides, batch: Mapping[str, Tensor], counts: Tensor | None, *, training: bool
    ) -> list[tuple[Term, Tensor]]:
        """Return every term with its weighted share of its mean over the whole step, in float32 or better.

        Args:
            sides: The parts of the micro-batch.
            batch: The micro-batch.
            counts: Units of the whole step by term, see :meth:`count_units`; None for those of this batch alone.
            training: Whether the values belong to the means that are logged.
        """
        if counts is None:
            counts = self.count_units([batch], batch["labels"].device)
        values = []
        for (weight, term), count in zip(self._terms, counts, strict=True):
            value = term.items(sides).sum() / count.clamp(min=1)
            if training:
                self._sums[term.name] += value.detach()
                self.dual.add(term, value.detach())
            values.append((term, self.dual.weight(weight, term) * value))
        return values

    def means_since_last(self, step: int, reduce: Reduce) -> dict[str, float]:
        """Return the mean of every term over the steps since the last call, and the multiplier if there is one."""
        steps = max(step - self._logged_step, 1)
        self._logged_step = step
        means = {name: reduce(self._sums.pop(name)).item() / steps for name in list(self._sums)}
        return means if self.dual.multiplier is None else {**means, "multiplier": self.dual.multiplier}


def total(values: Sequence[tuple[Term, Tensor]], zero: Tensor, side: SideName | None = None) -> Tensor:
    """Return the sum of weighted terms.

    Args:
        values: See :meth:`StepLoss.weighted_values`.
        zero: A scalar 0 on the device of the losses.
        side: ``"retain"`` for the terms that read it, ``"forget"`` for all others; None for all.
    """
    chosen = [value for term, value in values if side is None or (term.reads == "retain") == (side == "retain")]
    return sum(chosen, zero)
