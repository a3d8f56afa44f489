"""How far a figure tells who was seen: its AUC by dose, the number of times that a model was taught a person's records.

``meter`` measures it on people whose doses are known. A figure that does not tell a person seen thirty times from one
never seen says nothing when it is low after unlearning.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json
from myosotis.engine.result import ResultPart
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.membership import membership_inference, roc_auc, tpr_at_fpr
from myosotis.evaluation.rank_test import group_means
from myosotis.unlearning.language.audit.forgotten import FORGETTING

CLEARLY = 0.75
"""AUC from which a figure counts as telling two kinds of people apart: three pairs of four in the right order."""

CRITERIA = ("fact_probability", "token_probability", *FORGETTING[1:])
"""Figures that the question whether records are forgotten rests on."""

PACKAGED = Path(__file__).parent / "doses.json"
"""The doses of ``docs/measured/meter.md``, of which reports quote where a model has none of its own."""


class Told(ResultPart):
    """How well one figure tells people of one kind from people never taught."""

    auc: Interval
    """Probability that a person has the higher figure, as a mean over the person's records, than one never taught; ties
    count half. 0.5 says nothing, below it the figure takes such people for less known than strangers."""
    of_record: float
    """The same of single records."""
    alone: float
    """Share of the people who are above every one never taught: those that would be found among so many."""
    level: float
    """Mean of the figure over these people."""
    p_value: float | None = None
    """p-value of the two-sided rank test over people; null for means over runs."""


class Doses(ResultPart):
    """How far the figures of an audit tell who was seen, on one model."""

    model: str
    """Name of the model."""
    network: str
    """Class of the model, number and width of its blocks."""
    people: int
    """People of each kind."""
    unseen: int
    """People never taught whom they are told from."""
    runs: int
    """Runs; of several the figures are means, and intervals are over runs."""
    doses: tuple[int, ...]
    """Times that a record was taught."""
    told: dict[str, dict[str, Told]]
    """By figure and kind of people: a dose, or what else ``meter`` teaches."""

    def only(self, figures: Collection[str]) -> "Doses":
        """Return the same of some figures, and of the doses alone."""
        kinds = {str(dose) for dose in self.doses}
        told = {
            figure: {kind: row for kind, row in rows.items() if kind in kinds}
            for figure, rows in self.told.items()
            if figure in figures
        }
        return self.model_copy(update={"told": told})

    def clear_dose(self, figure: str) -> float | None:
        """Return the dose from which a figure tells clearly, between two by the logarithm of one more; None for none.

        Args:
            figure: The figure.
        """
        told = self.told[figure]
        return clear_dose({dose: told[str(dose)].auc.mean for dose in self.doses if str(dose) in told})


def network_of(model: PreTrainedModel) -> str:
    """Return the class of a model, the number of its blocks and their width, by which models of a family are alike."""
    config = model.config
    return f"{type(model).__name__}, {config.num_hidden_layers} blocks of width {config.hidden_size}"


def doses_of_run(path: Path, model: PreTrainedModel) -> Doses:
    """Return what a run of ``meter`` has measured, for a verdict on a model of the same network.

    Args:
        path: The run.
        model: The model of the verdict.

    Raises:
        InputError: It is no finished run of ``meter``, of another network, or its control failed.
    """
    result = Run.read(path).result()
    if result["kind"] != "meter":
        raise InputError(f"audit.meter: {path}: is a run of '{result['kind']}', expected one of 'meter'")
    doses = Doses.model_validate(result["doses"])
    if doses.network != network_of(model):
        raise InputError(f"audit.meter: {path}: is of a {doses.network}; this model is a {network_of(model)}")
    if result["verdict"]["sound"] is False:
        raise InputError(f"audit.meter: {path}: is not sound, see its report")
    return doses


@cache
def packaged_doses() -> Doses:
    """Return the doses of the package, see :data:`PACKAGED`."""
    return Doses.model_validate(read_json(PACKAGED))


def clear_dose(aucs: Mapping[int, float]) -> float | None:
    """Return the dose at which an AUC reaches :data:`CLEARLY`, linear in log(1 + dose); at a dose of 0 it is 0.5.

    Args:
        aucs: AUC by dose.

    Returns:
        The first such dose; None where no AUC is as high.

    Example:
        >>> round(clear_dose({1: 0.6, 3: 0.9}), 2)
        1.83
    """
    below, share = 0, 0.5
    for dose, auc in sorted(aucs.items()):
        if auc >= CLEARLY:
            way = (CLEARLY - share) / (auc - share)
            return math.expm1(math.log1p(below) + way * (math.log1p(dose) - math.log1p(below)))
        below, share = dose, auc
    return None


def told(
    values: Float[Tensor, " count"],
    people: Sequence[str],
    unseen: Float[Tensor, " others"],
    unseen_people: Sequence[str],
    *,
    level: float = 0.95,
) -> Told | None:
    """Return how well a figure tells people from others who were never taught.

    Args:
        values: The figure of each record; high means known, NaN is left out.
        people: The person of each.
        unseen: The figure of records never taught.
        unseen_people: The person of each of these.
        level: Level of the interval and of the test.

    Returns:
        None where a side has no value.
    """
    if bool(values.isnan().all()) or bool(unseen.isnan().all()):
        return None
    means, other_means = (
        torch.tensor(group_means(rows, names), dtype=torch.float64)
        for rows, names in ((values, people), (unseen, unseen_people))
    )
    records, other_records = (rows[~rows.isnan()] for rows in (values, unseen))
    # Scores of membership are low for what is known.
    found = membership_inference(-means, -other_means, level=level)
    return Told(
        auc=Interval(found.auc, found.low, found.high, len(means), min(len(means), len(other_means))),
        of_record=roc_auc(-records, -other_records),
        alone=tpr_at_fpr(-means, -other_means, 0.0),
        level=means.mean().item(),
        p_value=found.p_value,
    )
