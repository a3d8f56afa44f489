"""What figures amount to, and what would fool them: every question from the values of single records."""

import json
import math

import pytest
import torch

from myosotis.data.encoding import Example
from myosotis.unlearning.language.audit.audit import Audit, AuditSets
from myosotis.unlearning.language.audit.memorization import Thresholds
from myosotis.unlearning.language.audit.verdict import VerdictSettings, judge, lengths_differ, perplexity_ratio

PER_SUBJECT = 5


def examples(split, subjects, per_subject=PER_SUBJECT):
    return [
        Example((1, 2, 3, 4), (-100, 2, 3, 4), (False, True, True, True), f"{split} {subject}")
        for subject in range(subjects)
        for _ in range(per_subject)
    ]


def sets(forget=6, held=8, unseen=8, general=6):
    return AuditSets(
        examples("forget", forget),
        examples("retain", 10),
        examples("held", held),
        examples("unseen", unseen),
        examples("general", general, 1),
    )


def rows(count, level, nll=None):
    """Values of one split: a share ``level`` of the records right, spread evenly over subjects."""
    right = torch.tensor([float((index * 7) % 10 < round(10 * level)) for index in range(count)], dtype=torch.float64)
    loss = torch.linspace(0, 0.2, count, dtype=torch.float64) + (3 - 3 * level if nll is None else nll)
    measures = ("fact_accuracy", "token_accuracy", "memorization_accuracy", "extraction_likelihood")
    return {**{name: right.clone() for name in measures}, "nll": loss}


def audit(of, levels, general=2.0):
    values = {name: rows(len(getattr(of, name)), level) for name, level in levels.items() if getattr(of, name)}
    if of.general:
        count = len(of.general)
        tokens = torch.full((count,), 50.0, dtype=torch.float64)
        values["general"] = {"nll_sum": tokens * general, "tokens": tokens}
    return Audit({name: {} for name in values}, values)


KNOWN = {"forget": 1.0, "retain": 1.0, "held_retain": 1.0, "unseen": 0.3}
DONE = {"forget": 0.3, "retain": 1.0, "held_retain": 1.0, "unseen": 0.3}


def verdict(before=KNOWN, after=DONE, of=None, general=2.0, **options):
    of = sets() if of is None else of
    found = judge(audit(of, before), audit(of, after, general), of, VerdictSettings(), **options)
    json.dumps(found, allow_nan=False)
    return found


def names(criteria):
    return {row["name"]: row["holds"] for row in criteria}


def test_a_sound_run_is_known_forgotten_and_kept():
    found = verdict()
    assert (found["known"], found["forgotten"], found["kept"]) == (True, True, True)
    assert found["reasons"] == {}
    assert found["over_forgotten"] is False
    assert names(found["forgetting_criteria"]) == {
        "fact_accuracy": True,
        "memorization_accuracy": True,
        "extraction_likelihood": True,
    }
    assert names(found["keeping_criteria"]) == {"held_retain_fact_accuracy": True, "perplexity_ratio": True}
    assert found["control"]["p_value"] < 0.01
    assert (found["control"]["units"], found["control"]["level_units"]) == (6, 8)


def test_enough_subjects_make_it_sure():
    many = sets(forget=60, held=150, unseen=60, general=60)
    assert verdict(of=many)["sure"] is True
    assert verdict()["sure"] is None  # all means are the same, six subjects are too few
    still = verdict(after=DONE | {"forget": 0.9}, of=many)
    assert (still["forgotten"], still["sure"]) == (False, True)


def test_nothing_unlearnt_is_not_forgotten():
    found = verdict(after=KNOWN)
    assert found["forgotten"] is False


def test_records_that_were_never_learnt_are_not_called_forgotten():
    never = KNOWN | {"forget": 0.3}
    found = verdict(before=never, after=DONE)
    assert (found["known"], found["forgotten"]) == (None, None)
    assert found["reasons"] == {"forgotten": "not_known"}
    # With many subjects it is shown that there was nothing to forget.
    many = verdict(before=never, after=DONE, of=sets(forget=60, unseen=60))
    assert (many["known"], many["forgotten"]) == (False, None)


def test_unseen_records_that_were_seen_leave_nothing_to_compare_with():
    found = verdict(before=KNOWN | {"unseen": 1.0}, after=KNOWN | {"unseen": 1.0})
    assert (found["known"], found["forgotten"]) == (None, None)


def test_a_wrong_template_is_not_called_forgotten():
    # Asked in a wording that it did not learn, the model is at the level of unseen records, before and after.
    wrong = {"forget": 0.3, "retain": 0.3, "held_retain": 0.3, "unseen": 0.3}
    found = verdict(before=wrong, after=wrong)
    assert (found["known"], found["forgotten"], found["kept"]) == (None, None, None)
    assert found["reasons"] == {"forgotten": "not_known", "kept": "not_known"}


def test_a_model_that_was_destroyed_has_not_kept_the_rest_and_is_over_forgotten():
    ruined = dict.fromkeys(DONE, 0.0)
    of = sets()
    after = audit(of, ruined, general=9.0)
    after.values["forget"]["nll"] += 5
    found = judge(audit(of, KNOWN), after, of, VerdictSettings())
    assert (found["forgotten"], found["kept"]) == (True, False)
    assert found["over_forgotten"] is True


def test_a_model_that_refuses_everything_has_not_kept_the_rest():
    found = verdict(after={"forget": 0.0, "retain": 0.0, "held_retain": 0.0, "unseen": 0.0}, general=2.01)
    assert found["kept"] is False
    assert names(found["keeping_criteria"])["perplexity_ratio"] is True


def test_what_training_holds_in_place_is_not_what_is_kept():
    found = verdict(after=DONE | {"retain": 1.0, "held_retain": 0.6})
    assert found["kept"] is False
    none_held = sets(held=0)
    found = verdict(of=none_held)
    assert (found["kept"], found["reasons"]["kept"]) == (None, "nothing_held_out")


def test_the_rest_is_judged_against_what_it_was():
    assert verdict(before=KNOWN | {"held_retain": 0.8}, after=DONE | {"held_retain": 0.8})["kept"] is True
    assert verdict(before=KNOWN, after=DONE | {"held_retain": 0.9})["kept"] is False


def test_records_that_were_never_known_are_not_called_kept():
    found = verdict(before=KNOWN | {"held_retain": 0.3}, after=DONE | {"held_retain": 0.3})
    assert (found["kept"], found["reasons"]["kept"]) == (None, "not_known")


def test_one_subject_shows_nothing():
    found = verdict(of=sets(forget=1))
    assert (found["known"], found["forgotten"], found["sure"]) == (None, None, None)
    assert found["control"]["smallest_p_value"] == pytest.approx(1 / 9)
    two = verdict(of=sets(forget=2, unseen=2))
    assert two["known"] is None
    assert two["over_forgotten"] is None


def test_four_subjects_may_show_knowledge_but_decide_nothing():
    found = verdict(of=sets(forget=4))
    assert (found["known"], found["forgotten"]) == (True, True)
    assert not [row for row in found["forgetting_criteria"] if row["decided"]]


def test_duplicates_are_one_subject():
    of = sets(forget=1)
    many = AuditSets(of.forget * 20, of.retain, of.held_retain, of.unseen, of.general)
    found = verdict(of=many)
    assert found["control"]["units"] == 1
    assert found["known"] is None


def test_lengths_that_differ_are_listed_and_do_not_count():
    thresholds = Thresholds(0.5, 0.5, 2, 8.0, (8, 8), 4, 0.1, 0.1)
    short = [Example(tuple(range(3)), (-100, 1, 2), (False, True, True))]
    reason = lengths_differ(short, thresholds)
    assert "sequences of 8 tokens; one of 3" in reason
    found = verdict(incomparable=reason)
    assert names(found["forgetting_criteria"]) == {
        "fact_accuracy": True,
        "memorization_accuracy": None,
        "extraction_likelihood": None,
    }
    assert found["forgetting_criteria"][1]["incomparable"] == reason
    # What cannot be compared neither makes a set forgotten nor keeps it from being so.
    assert found["forgotten"] is True
    assert verdict(after=KNOWN, incomparable=reason)["forgotten"] is False


def test_a_criterion_that_few_records_have_is_no_criterion():
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    after.values["forget"]["extraction_likelihood"][2:] = math.nan
    after.values["forget"].pop("memorization_accuracy")
    found = judge(before, after, of, VerdictSettings())
    rows = {row["name"]: row for row in found["forgetting_criteria"]}
    assert rows["extraction_likelihood"]["incomparable"] == "only 2 of 30 forget records have it"
    assert rows["memorization_accuracy"]["incomparable"] == "no forget record is long enough"
    assert rows["fact_accuracy"]["holds"] is True


def test_facts_on_one_side_only_are_not_compared():
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    before.values["unseen"].pop("fact_accuracy")
    found = judge(before, after, of, VerdictSettings())
    holds = names(found["forgetting_criteria"])
    assert holds["fact_accuracy"] is None
    assert holds["token_accuracy"] is True
    assert found["control"]["measure"] == "token_accuracy"


def test_a_level_of_zero_is_met_by_zero():
    found = verdict(before=KNOWN | {"unseen": 0.0}, after=DONE | {"forget": 0.0, "unseen": 0.0})
    assert found["forgotten"] is True


def test_without_unseen_records_a_reference_tells_whether_it_was_known():
    of = sets(unseen=0)
    reference = audit(of, {"forget": 0.2, "retain": 1.0, "held_retain": 1.0})
    found = verdict(of=of, reference=reference)
    assert found["known"] is True
    assert found["control"]["level_of"] == "the reference"
    assert (found["forgotten"], found["reasons"]["forgotten"]) == (None, "nothing_comparable")
    assert verdict(of=of)["known"] is None
    same = verdict(of=of, reference=audit(of, {"forget": 1.0, "retain": 1.0, "held_retain": 1.0}))
    assert same["known"] is None


def test_perplexity_is_compared_text_by_text():
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    shift = torch.tensor([0.0, 0.1, 0.2, 0.1, 0.0, 0.2], dtype=torch.float64)
    # Texts differ far more from each other than they change.
    before.values["general"]["nll_sum"] *= torch.tensor([1, 5, 2, 9, 3, 7])
    after.values["general"]["nll_sum"] = before.values["general"]["nll_sum"] + 50 * shift
    found = perplexity_ratio(before, after, list(range(6)), 0.95)
    assert found.mean == pytest.approx(math.exp(0.1))
    assert 1.0 < found.low < found.mean < found.high < 1.22
    assert found.units == 6
    # A collapsed model has a number, too.
    after.values["general"]["nll_sum"] += 1e9
    assert math.isfinite(perplexity_ratio(before, after, list(range(6)), 0.95).high)


def test_without_retain_records_general_text_alone_is_judged():
    of = AuditSets(examples("forget", 6), unseen=examples("unseen", 8), general=examples("general", 6, 1))
    found = verdict(of=of, retain_given=False)
    assert found["kept"] is True
    bare = AuditSets(examples("forget", 6), unseen=examples("unseen", 8))
    assert verdict(of=bare, retain_given=False)["reasons"]["kept"] == "nothing_to_compare"
