"""What the subjects at hand can decide, told before the work."""

import math

import pytest
import torch

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import SubjectsHurt
from myosotis.evaluation.rank_test import rank_test
from myosotis.unlearning.language.audit.prospects import held_needed, prospect_lines, unseen_needed
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.settings import VerdictSettings


def people(name, count, records=5):
    return [
        Example((1, 2, 3 + row), (-100, 2, 3 + row), (False, True, True), f"{name} {person}")
        for person in range(count)
        for row in range(records)
    ]


def lines(forget=6, unseen=16, held=31, *, records=5, reference=None):
    sets = AuditSets(people("f", forget, records), held_retain=people("h", held), unseen=people("u", unseen))
    return prospect_lines(sets, VerdictSettings(), reference=reference)


@pytest.mark.parametrize("forget", [1, 2, 3, 5])
def test_one_unseen_subject_less_could_show_nothing(forget):
    needed = unseen_needed(forget, 0.95)
    most = rank_test(torch.arange(needed, needed + forget).float(), torch.arange(needed).float(), alternative="greater")
    assert most.p_value <= 0.05 + 1e-12
    assert most.p_value == pytest.approx(1 / math.comb(forget + needed, forget))
    fewer = rank_test(
        torch.arange(needed, needed + forget).float(), torch.arange(needed - 1).float(), alternative="greater"
    )
    assert fewer.p_value > 0.05


@pytest.mark.parametrize("hurt", [0, 1, 2, 5])
def test_one_held_out_subject_less_would_not_bound_the_share(hurt):
    needed = held_needed(hurt, VerdictSettings())
    assert SubjectsHurt.among(hurt, needed, 0.1, 0.15, 0.95).holds
    assert not SubjectsHurt.among(hurt, needed - 1, 0.1, 0.15, 0.95).holds


def test_a_severe_setting_does_not_count_for_ever():
    severe = VerdictSettings(confidence=1 - 1e-8, max_hurt_share=1e-7)
    assert unseen_needed(1, severe.confidence) == pytest.approx(1e8, rel=0.2)
    assert held_needed(0, severe) == pytest.approx(8 * math.log(10) / 1e-7, rel=0.01)


def test_enough_of_everything_rules_nothing_out():
    assert lines() == [
        "subjects: 6 to forget, 16 unseen, 31 held out",
        "  every question can be decided with these, if figures differ little between them",
    ]


def test_one_person_is_told_what_would_decide():
    told = lines(1, 8, 5)
    assert told[0] == "subjects: 1 to forget, 8 unseen, 5 held out"
    assert [line.split("?")[0].strip(" '") for line in told[1:]] == [
        "Did the model know it",
        "Is it forgotten",
        "Is the rest kept",
    ]
    assert "19 unseen subjects are needed" in told[1]
    assert "'reference: names'" in told[2]
    assert "19 held-out subjects are needed" in told[3]
    assert lines(1, 20, 31)[1:] == [told[2]]


def test_unseen_subjects_do_not_count_beside_invented_names():
    assert lines(4, 30, 31, reference="names")[1:] == [
        "  'Did the model know it?' cannot become a yes: 5 subjects to forget are needed, 4 are there"
    ]
    assert lines(1, 1, 31, reference="names")[2:] == lines(5, 1, 31, reference="names")[1:]


def test_a_reference_decides_about_the_records_of_one_person():
    told = lines(1, 8, 31, reference="retrain")
    assert told[1] == "  answers will be about these 5 records, not about such subjects in general"
    assert told[2].strip() == "every question can be decided with these, if figures differ little between them"
    four = lines(1, 8, 31, records=4, reference="retrain")
    assert [line.split("?")[0].strip(" '") for line in four[2:]] == ["Did the model know it"]
    # One record is a pair, however many unseen subjects there are.
    assert (
        "5 records with different facts are needed, 1 are there" in lines(1, 30, 31, records=1, reference="retrain")[2]
    )
    assert "two unseen subjects or more" in lines(1, 1, 31, reference="retrain")[2]
    assert "5 subjects to forget are needed, 4 are there" in lines(4, 0, 31, reference="retrain")[1]


def test_records_without_a_subject_are_told():
    bare = [Example(row.input_ids, row.labels, row.facts) for row in people("f", 6)]
    sets = AuditSets(bare, held_retain=people("h", 31), unseen=people("u", 20))
    assert "rows_per_subject" in prospect_lines(sets, VerdictSettings(), reference=None)[1]
