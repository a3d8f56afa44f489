"""How far a figure tells who was seen."""

import math

import pytest
import torch

from myosotis.evaluation.intervals import Interval
from myosotis.unlearning.language.audit.doses import Doses, Told, clear_dose, told


def people(count, records=2, start=0):
    return [f"person {start + number}" for number in range(count) for _ in range(records)]


def test_people_are_told_by_the_means_of_their_records():
    values = torch.tensor([7, 1, 5, 5, 2, 2, 8, 2, 4, 4]) / 8  # people: 4, 5, 2, 5 and 4 eighths
    unseen = torch.tensor([3, 3, 4, 4, 1, 3, 0, 2, 3, 3]) / 8  # 3, 4, 2, 1 and 3
    found = told(values, people(5), unseen, people(5, start=5))
    pairs = [(a > b) + (a == b) / 2 for a in (4, 5, 2, 5, 4) for b in (3, 4, 2, 1, 3)]
    assert found.auc.mean == pytest.approx(sum(pairs) / 25)
    assert found.level == pytest.approx(0.5)
    assert found.alone == pytest.approx(0.4)  # two of five are above every one
    of_records = [(a > b) + (a == b) / 2 for a in values.tolist() for b in unseen.tolist()]
    assert found.of_record == pytest.approx(sum(of_records) / 100)
    assert (found.auc.count, found.auc.units) == (5, 5)


def test_equal_people_are_not_told_and_missing_values_are_left_out():
    values = torch.tensor([0.5, math.nan] * 6)
    found = told(values, people(6), values, people(6, start=6))
    assert (found.auc.mean, found.alone, found.p_value) == (0.5, 0.0, 1.0)
    assert told(torch.full((4,), math.nan), people(2), values, people(6)) is None


def test_those_who_are_less_known_than_strangers_are_below():
    found = told(torch.arange(12.0), people(6), torch.arange(12.0) + 20, people(6, start=6))
    assert found.auc.mean == pytest.approx(0.0)
    assert found.p_value < 0.01


@pytest.mark.parametrize(
    ("aucs", "dose"),
    [
        ({1: 1.0}, math.sqrt(2) - 1),  # half of the way from 0 to 1 exposures
        ({1: 0.75, 2: 0.9}, 1.0),
        ({1: 0.5, 3: 1.0}, math.sqrt(8) - 1),
        ({1: 0.6, 2: 0.7}, None),
        ({2: 0.9, 1: 0.5}, math.exp(math.log(2) + (0.25 / 0.4) * math.log(1.5)) - 1),
        ({1: 0.2, 2: 0.3, 5: 0.8}, math.exp(math.log(3) + 0.9 * math.log(2)) - 1),
    ],
)
def test_the_dose_from_which_a_figure_is_clear(aucs, dose):
    assert clear_dose(aucs) == (None if dose is None else pytest.approx(dose))


def test_doses_come_back_from_json():
    one = Told(auc=Interval(0.8, None, None, 5, 5), of_record=0.7, alone=0.1, level=0.3)
    doses = Doses(
        model="m", network="n", people=5, unseen=5, runs=1, doses=(1, 2), told={"x": {"1": one, "wrong": one}}
    )
    again = Doses.model_validate_json(doses.model_dump_json())
    assert again == doses
    assert again.clear_dose("x") == pytest.approx(2 ** (0.25 / 0.3) - 1)
