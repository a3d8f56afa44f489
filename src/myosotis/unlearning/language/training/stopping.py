"""The stop rule: training ends as soon as the verdict would call the forget set forgotten."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.engine.errors import SettingsError
from myosotis.evaluation.comparison import MIN_UNITS, TOLERANCE, Comparison
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.forgotten import Level, forgetting_comparisons, most_remembered
from myosotis.unlearning.language.audit.memorization import memorization, memorization_accuracy
from myosotis.unlearning.language.audit.over_subjects import Values
from myosotis.unlearning.language.audit.sets import measurable, subjects_of
from myosotis.unlearning.language.audit.settings import STOP_FIGURES, VerdictSettings

MEASURED = "forget_probability"
"""Key of the log that every measurement writes."""


@dataclass(frozen=True)
class StopRule:
    """Stop at the first epoch at which the forget set would be called forgotten.

    That is, where for every figure it is shown that at most ``settings.margin`` of what had been learnt is left, and no
    subject is wholly remembered; see :func:`~myosotis.unlearning.language.audit.forgotten.forgetting_comparisons`. With
    too few subjects for an interval the means decide. Jang et al. (ACL 2023) stop once the means of memorisation
    accuracy and extraction likelihood are below those of unseen text; a model that never saw the forget set would not
    meet that in one of two cases, so training goes on until less is known than such a model knows.

    Attributes:
        examples: Examples of the forget set.
        before: Figures of these records under the model before unlearning.
        level: What a model shows that never saw them; training may read no reference, so that of unseen records.
        settings: Confidence and margin.
        figures: Figures that must be met.
        n: n of the extraction likelihood.
        prefixes: Most prefixes of a record that it is measured from; all of them unless given.
        out_of_range: Whether each record is too long or too short for the figures that depend on the length.
        min_epochs: Fewest epochs before a stop.
        every: Epochs between measurements.
        active: False to measure only and never stop, without the rollouts of the extraction likelihood.

    Raises:
        SettingsError: None of the figures can be compared.
    """

    examples: Sequence[Example]
    before: Values
    level: Level
    settings: VerdictSettings = field(default_factory=VerdictSettings)
    figures: Sequence[str] = STOP_FIGURES
    n: int = 10
    prefixes: int | None = None
    out_of_range: Sequence[bool] | None = None
    min_epochs: int = 0
    every: int = 1
    active: bool = True

    def __post_init__(self) -> None:
        rows = self._comparisons(self.before)
        if self.active and all(row.value is None for row in rows):
            reasons = "; ".join(dict.fromkeys(row.incomparable or "" for row in rows)) or "no figure is given"
            raise SettingsError(f"nothing tells when the forget set is forgotten: {reasons}")

    def measure(self, model: Any) -> dict[str, Tensor]:
        """Return the figures of every record; NaN where one has none."""
        values = dict(answer_metrics(model, self.examples))
        long = measurable(self.examples, self.n)
        if not long.indices:
            return values
        measured: dict[str, Tensor] = {}
        if self.active and "extraction_likelihood" in self.figures:
            accuracy, likelihood = memorization(
                model, long.sequences, self.n, starts=long.starts, prefixes=self.prefixes
            )
            measured = {"memorization_accuracy": accuracy, "extraction_likelihood": likelihood}
        else:
            measured = {"memorization_accuracy": memorization_accuracy(model, long.sequences, starts=long.starts)}
        for name, row in measured.items():
            values[name] = torch.full((len(self.examples),), math.nan)
            values[name][long.indices] = row
        return values

    def means(self, values: Values) -> dict[str, float]:
        """Return the means that are logged, by key."""
        tokens = "token" if values["fact_accuracy"].isnan().all() else "fact"
        names = {
            "probability": f"{tokens}_probability",
            f"{tokens}_accuracy": f"{tokens}_accuracy",
            "memorization_accuracy": "memorization_accuracy",
            "extraction_likelihood": "extraction_likelihood",
        }
        return {
            f"forget_{key}": values[name].double().nanmean().item() for key, name in names.items() if name in values
        }

    def satisfied(self, values: Values, epoch: int) -> bool:
        """Whether training stops at the figures of :meth:`measure`, measured after ``epoch`` epochs."""
        if not self.active or epoch < self.min_epochs:
            return False
        return self.met(values)

    def met(self, values: Values) -> bool:
        """Whether the forget set would be called forgotten; also where nothing had been learnt."""
        rows = [row for row in self._comparisons(values) if row.value is not None]
        answers = [_within(row) for row in rows if row.incomparable is None]
        worst = most_remembered(self.before, values, subjects_of(self.examples), self.level, self.settings)
        return all(answers) and not (worst is not None and worst.whole)

    def _comparisons(self, values: Values) -> list[Comparison]:
        return forgetting_comparisons(
            self.before,
            values,
            subjects_of(self.examples),
            self.level,
            self.settings,
            self.figures,
            self.out_of_range,
        )


def _within(row: Comparison) -> bool | None:
    difference = row.difference
    if difference is not None and difference.units < MIN_UNITS:
        return difference.mean <= row.margin + TOLERANCE
    return row.holds
