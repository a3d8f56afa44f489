"""What figures amount to, and what would fool them: every question from the values of single records."""

import json
import math

import numpy as np
import pytest
import torch

from myosotis.data.encoding import Example
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.forgotten import FORGETTING, Stressed, out_of_range
from myosotis.unlearning.language.audit.kept import perplexity_ratio
from myosotis.unlearning.language.audit.memorization import Thresholds
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.audit.verdict import judge

PER_SUBJECT = 5
FIGURES = ("fact_probability", "token_probability", *FORGETTING[1:])


def examples(split, subjects, per_subject=PER_SUBJECT):
    return [
        Example((1, 2, 3, 4), (-100, 2, 3, 4), (False, True, True, True), f"{split} {subject}")
        for subject in range(subjects)
        for _ in range(per_subject)
    ]


def sets(forget=20, held=20, unseen=20, general=20):
    return AuditSets(
        examples("forget", forget),
        examples("retain", 10),
        examples("held", held),
        examples("unseen", unseen),
        examples("general", general, 1),
    )


def rows(values):
    """Values of one split, the same for every figure; what a model knows has a lower loss."""
    tensor = torch.as_tensor(values, dtype=torch.float64)
    loss = torch.linspace(0, 0.2, len(tensor), dtype=torch.float64) + 3 - 3 * tensor
    return {**{name: tensor.clone() for name in (*FIGURES, "answer_recall")}, "nll": loss}


def even(level, count):
    """A level with a spread within each subject that is the same for all."""
    return [level + 0.05 * ((index % PER_SUBJECT) - 2) / 2 for index in range(count)]


def audit(of, levels, general=2.0):
    values = {}
    for name, level in levels.items():
        count = len(getattr(of, name))
        if count:
            values[name] = rows(even(level, count) if np.isscalar(level) else level)
    if of.general:
        tokens = torch.full((len(of.general),), 50.0, dtype=torch.float64)
        values["general"] = {"nll_sum": tokens * general, "tokens": tokens}
    return Audit({name: {} for name in values}, values)


KNOWN = {"forget": 0.95, "retain": 0.95, "held_retain": 0.95, "unseen": 0.3}
DONE = {"forget": 0.3, "retain": 0.95, "held_retain": 0.95, "unseen": 0.3}


def verdict(before=KNOWN, after=DONE, of=None, general=2.0, **options):
    of = sets() if of is None else of
    found = judge(audit(of, before), audit(of, after, general), of, VerdictSettings(), **options)
    json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert type(found).model_validate(found.model_dump(mode="json")) == found
    return found


def answers(found):
    return found.known, found.forgotten, found.kept


def holds(comparisons):
    return {row.name: row.holds for row in comparisons}


def people(values, per_subject=PER_SUBJECT):
    """One level for each subject."""
    return [value for value in values for _ in range(per_subject)]


def test_a_sound_run_is_known_forgotten_and_kept():
    found = verdict()
    assert answers(found) == (True, True, True)
    assert (found.sure, found.as_unseen, found.over_forgotten) == (True, True, False)
    assert found.reasons == {}
    assert holds(found.forgetting) == dict.fromkeys(("fact_probability", *FORGETTING[1:]), True)
    assert list(holds(found.keeping)) == [
        "held_retain_fact_probability",
        "held_retain_answer_recall",
        "perplexity_ratio",
    ]
    assert found.control.p_value < 0.01
    assert (found.control.value.units, found.control.against.units) == (20, 20)
    # A fifth of what had been learnt above unseen records.
    assert found.forgetting[0].margin == pytest.approx(0.2 * 0.65)


def test_nothing_unlearnt_is_not_forgotten():
    assert answers(verdict(after=KNOWN)) == (True, False, True)


def test_the_margin_separates_yes_from_no_and_what_lies_between_is_undecided():
    spread = np.linspace(-0.2, 0.2, 20)

    def of_level(level):
        return verdict(after=DONE | {"forget": people(level + spread)}).forgotten

    assert (of_level(0.30), of_level(0.43), of_level(0.60)) == (True, None, False)


def test_a_perfect_retrain_passes_and_is_seldom_refused():
    stream = np.random.default_rng(0)
    of, found = sets(forget=20, unseen=20), []
    for _ in range(60):
        unseen, again = (people(1 / (1 + np.exp(1.2 - stream.normal(0, 0.7, 20)))) for _ in range(2))
        before = KNOWN | {"unseen": unseen}
        found.append(judge(audit(of, before), audit(of, before | {"forget": again}), of, VerdictSettings()).forgotten)
    assert found.count(False) <= 3
    assert found.count(True) >= 40
    # All of it gone is forgotten, and told to be more than that.
    gone = verdict(after=DONE | {"forget": 0.02})
    assert (gone.forgotten, gone.over_forgotten, gone.as_unseen) == (True, True, False)


def test_records_that_were_never_learnt_are_not_called_forgotten():
    found = verdict(before=KNOWN | {"forget": 0.3})
    assert (found.known, found.forgotten) == (False, None)
    assert found.reasons["forgotten"] == "not_known"
    few = sets(forget=3, unseen=3)
    assert verdict(before=KNOWN | {"forget": 0.3}, of=few).known is None


def test_unseen_records_that_were_seen_leave_nothing_to_compare_with():
    found = verdict(before=KNOWN | {"unseen": 0.95}, after=KNOWN | {"unseen": 0.95})
    assert (found.known, found.forgotten) == (False, None)


def test_a_wrong_template_is_not_called_forgotten():
    # Asked in a wording that it did not learn, the model is at the level of unseen records, before and after.
    wrong = dict.fromkeys(KNOWN, 0.3)
    found = verdict(before=wrong, after=wrong)
    assert (found.forgotten, found.kept) == (None, None)
    assert found.reasons == {"forgotten": "not_known", "kept": "not_known"}


def test_a_model_that_was_destroyed_has_not_kept_the_rest_and_is_over_forgotten():
    of = sets()
    after = audit(of, dict.fromkeys(DONE, 0.03), general=9.0)
    after.values["forget"]["nll"] += 5
    found = judge(audit(of, KNOWN), after, of, VerdictSettings())
    assert (found.forgotten, found.kept, found.over_forgotten) == (True, False, True)


def test_a_model_that_refuses_everything_has_not_kept_the_rest():
    found = verdict(after=dict.fromkeys(DONE, 0.03), general=2.01)
    assert found.kept is False
    assert holds(found.keeping)["perplexity_ratio"] is True


def test_what_training_holds_in_place_is_not_what_is_kept():
    assert verdict(after=DONE | {"retain": 0.95, "held_retain": 0.6}).kept is False
    found = verdict(of=sets(held=0))
    assert (found.kept, found.reasons["kept"]) == (None, "nothing_held_out")


def test_general_text_alone_is_not_the_rest():
    of = AuditSets(examples("forget", 20), unseen=examples("unseen", 20), general=examples("general", 20, 1))
    found = verdict(of=of)
    assert (found.kept, found.reasons["kept"]) == (None, "nothing_held_out")
    assert holds(found.keeping) == {"perplexity_ratio": True}


def test_the_rest_is_judged_against_what_it_was_and_by_what_exceeds_unseen_records():
    assert verdict(before=KNOWN | {"held_retain": 0.8}, after=DONE | {"held_retain": 0.8}).kept is True
    # .04 of .95 is less than 5 %, but more than 5 % of the .65 that were known.
    lost = verdict(after=DONE | {"held_retain": 0.91})
    assert lost.keeping[0].margin == pytest.approx(0.05 * 0.65)
    assert lost.kept is False


def test_records_that_were_never_known_are_not_called_kept():
    found = verdict(before=KNOWN | {"held_retain": 0.3}, after=DONE | {"held_retain": 0.3})
    assert (found.kept, found.reasons["kept"]) == (None, "not_known")


def test_one_subject_shows_nothing():
    found = verdict(of=sets(forget=1, unseen=8))
    assert (found.known, found.forgotten, found.sure) == (None, None, None)
    assert found.control.smallest_p_value == pytest.approx(1 / 9)
    two = verdict(of=sets(forget=2, unseen=2))
    assert two.known is None
    assert two.trace.over_forgotten is None


def of_one_person(records, marked=()):
    own = [
        Example((1, 2, 3, 4 + row), (-100, 2, 3, 4 + row), (False, True, True, True), "she", marked=marked)
        for row in range(records)
    ]
    return AuditSets(own, held_retain=examples("held", 20), unseen=examples("unseen", 20))


def test_a_reference_tells_about_the_records_of_one_person():
    of = of_one_person(5)
    told = verdict(of=of, reference=audit(of, KNOWN | {"forget": 0.3}))
    assert (told.unit, told.known, told.forgotten) == ("record", True, True)
    assert {row.value.units for row in told.forgetting} == {5}
    kept = verdict(of=of, after=KNOWN, reference=audit(of, KNOWN | {"forget": 0.3}))
    assert (kept.known, kept.forgotten, kept.worst_remembered.whole) == (True, False, True)
    guessed = verdict(of=of, reference=audit(of, KNOWN | {"forget": 0.95}))
    assert (guessed.known, guessed.forgotten) == (False, None)
    # Of four people on it is about people.
    assert verdict(reference=audit(sets(), KNOWN | {"forget": 0.3})).unit == "subject"


@pytest.mark.parametrize(
    ("of", "units"),
    [(of_one_person(4), 4), (of_one_person(5, ("Oslo",)), 1), (of_one_person(1), 1)],
    ids=["four records", "one fact in five wordings", "one record"],
)
def test_few_facts_of_one_person_show_nothing(of, units):
    told = verdict(of=of, reference=audit(of, KNOWN | {"forget": 0.3}))
    assert (told.known, told.forgotten, told.control.value.units) == (None, None, units)


def test_a_reference_that_is_less_certain_of_everything_shows_nothing_of_one_person():
    of = of_one_person(5)
    dull = {"forget": 0.6, "held_retain": 0.6, "retain": 0.6, "unseen": 0.1}
    before = {"forget": 0.8, "held_retain": 0.95, "retain": 0.95, "unseen": 0.3}
    assert verdict(before, of=of, reference=audit(of, dull)).known is None
    assert verdict(before, of=of, reference=audit(of, dull | {"unseen": 0.3})).known


def test_the_best_remembered_subject_is_placed_among_the_unseen_ones():
    told = verdict(
        after=DONE | {"forget": people([0.1] * 19 + [0.5])},
        before=KNOWN | {"unseen": people([level / 20 for level in range(20)])},
    )
    assert (told.worst_remembered.unseen, told.worst_remembered.unseen_as_high) == (20, 10)
    of = sets()
    assert verdict(of=of, reference=audit(of, KNOWN | {"forget": 0.3})).worst_remembered.unseen is None


def test_duplicates_are_one_subject():
    of = sets(forget=1, unseen=8)
    many = AuditSets(of.forget * 20, of.retain, of.held_retain, of.unseen, of.general)
    found = verdict(of=many)
    assert found.control.value.units == 1
    assert found.known is None


def test_records_without_a_subject_are_not_taken_for_independent():
    of = sets()
    bare = [Example(row.input_ids, row.labels, row.facts) for row in of.forget]
    found = verdict(of=AuditSets(bare, of.retain, of.held_retain, of.unseen, of.general))
    assert (found.known, found.forgotten) == (None, None)
    assert found.reasons == {"known": "no_subjects", "forgotten": "not_known"}
    bare = [Example(row.input_ids, row.labels, row.facts) for row in of.unseen]
    unseen = AuditSets(of.forget, of.retain, of.held_retain, bare, of.general)
    for reference in (None, audit(of, KNOWN | {"forget": 0.3})):
        assert verdict(of=unseen, reference=reference).reasons["known"] == "no_subjects"
    held = [Example(row.input_ids, row.labels, row.facts) for row in of.held_retain]
    found = verdict(of=AuditSets(of.forget, of.retain, held, of.unseen, of.general))
    assert (found.kept, found.reasons) == (None, {"kept": "no_subjects"})


@pytest.mark.parametrize("figure", ["greedy_recall", "sampled_recall", "top5_recall", "fact_probability"])
def test_one_figure_that_gives_the_secret_away_is_enough(figure):
    # A preamble before each secret shows in the answers alone, a runner-up among the likeliest tokens and in samples.
    of = sets()
    after = audit(of, DONE)
    after.values["forget"][figure][:] = 0.95
    found = judge(audit(of, KNOWN), after, of, VerdictSettings())
    assert found.forgotten is False
    assert [name for name, answer in holds(found.forgetting).items() if answer is False] == [figure]


def test_a_trace_in_the_loss_is_not_as_if_never_seen():
    of = sets()
    after = audit(of, DONE)
    after.values["forget"]["nll"] -= 1
    found = judge(audit(of, KNOWN), after, of, VerdictSettings())
    assert (found.forgotten, found.trace.traceable, found.as_unseen) == (True, True, False)


def test_one_person_of_eight_wholly_remembered_is_named():
    of = sets(forget=8, unseen=12)
    after = people([0.95] + [0.2] * 7)
    found = verdict(after=DONE | {"forget": after}, of=of, name_of=lambda subject: f"<{subject}>")
    assert found.forgotten is False
    assert (found.worst_remembered.subject, found.worst_remembered.whole) == ("<forget 0>", True)
    assert found.worst_remembered.level == pytest.approx(0.3)
    # Guesses as good as that of one unseen person are no memory.
    lucky = people([0.05, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.6, 0.7, 0.9])
    assert not verdict(KNOWN | {"unseen": lucky}, DONE | {"forget": after}, of).worst_remembered.whole


def test_a_person_of_many_records_does_not_hide_nineteen():
    big = [Example((1, 2, 3, 4), (-100, 2, 3, 4), (False, True, True, True), "big")] * 95
    of = sets(unseen=20)
    of = AuditSets([*big, *examples("small", 19, 1)], of.retain, of.held_retain, of.unseen, of.general)
    found = verdict(after=DONE | {"forget": [0.0] * 95 + [0.95] * 19}, of=of)
    assert found.forgetting[0].value.mean == pytest.approx(0.95 * 19 / 20)
    assert found.forgotten is False


def test_one_held_out_person_wholly_lost_is_not_kept():
    lost = verdict(after=DONE | {"held_retain": people([0.3] + [0.95] * 19)})
    assert lost.kept is False
    assert (lost.worst_kept.subject, lost.worst_kept.whole, lost.hurt.hurt) == ("held 0", True, 1)
    assert verdict().hurt.at_most == pytest.approx(1 - 0.05 ** (1 / 20))
    # With five people none of whom lost anything nobody can say that at most 15 % would.
    few = verdict(of=sets(held=5))
    assert (few.kept, few.hurt.at_most) == (None, pytest.approx(0.451, abs=1e-3))


def test_lengths_that_differ_leave_single_records_out():
    thresholds = Thresholds(0.5, 0.5, 2, 8.0, (8, 8), 4, 0.1, 0.1)
    ids = tuple(range(3))
    assert out_of_range([Example(ids, (-100, 1, 2), (False, True, True))], thresholds) == [True]
    of = sets(forget=13)
    one = [index == 0 for index in range(65)]
    before, after = audit(of, KNOWN), audit(of, DONE)
    after.values["forget"]["memorization_accuracy"][0] = 1.0
    found = judge(before, after, of, VerdictSettings(), out_of_range=one)
    row = next(row for row in found.forgetting if row.name == "memorization_accuracy")
    assert (row.value.count, row.total, row.holds) == (64, 65, True)
    most = judge(before, after, of, VerdictSettings(), out_of_range=[index < 40 for index in range(65)])
    row = next(row for row in most.forgetting if row.name == "extraction_likelihood")
    assert row.incomparable == "only 25 of 65 forget records have it and are of a comparable length"
    # What cannot be compared neither makes a set forgotten nor keeps it from being so.
    assert most.forgotten is True


def test_a_figure_that_few_records_have_is_no_criterion():
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    after.values["forget"]["extraction_likelihood"][2:] = math.nan
    after.values["forget"].pop("memorization_accuracy")
    rows_by_name = {row.name: row for row in judge(before, after, of, VerdictSettings()).forgetting}
    assert rows_by_name["extraction_likelihood"].incomparable == "only 2 of 100 forget records have it"
    assert rows_by_name["memorization_accuracy"].incomparable == "no forget record is long enough"


@pytest.mark.parametrize("kept", [0, 1])
def test_facts_of_one_unseen_record_set_no_level(kept):
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    before.values["unseen"]["fact_probability"][kept:] = math.nan
    found = judge(before, after, of, VerdictSettings())
    assert list(holds(found.forgetting))[:2] == ["token_probability", "top5_recall"]
    assert found.control.name == "token_probability"


def test_a_figure_that_was_no_higher_before_says_nothing():
    of = sets()
    before, after = audit(of, KNOWN), audit(of, DONE)
    before.values["forget"]["extraction_strength"] = before.values["unseen"]["extraction_strength"] + 0.01
    found = judge(before, after, of, VerdictSettings())
    row = next(row for row in found.forgetting if row.name == "extraction_strength")
    assert row.incomparable == "before unlearning it was only 0.010 above unseen records, before"
    assert found.forgotten is True


def test_a_level_of_zero_is_met_by_zero():
    nothing = [0.0] * 100
    assert (
        verdict(before=KNOWN | {"unseen": nothing}, after=DONE | {"forget": nothing, "unseen": nothing}).forgotten
        is True
    )


def test_without_unseen_records_a_reference_tells_whether_it_was_known():
    of = sets(unseen=0)
    reference = audit(of, {"forget": 0.2, "retain": 0.95, "held_retain": 0.95})
    found = verdict(of=of, reference=reference)
    assert answers(found) == (True, True, True)
    assert found.control.against_of == "the same records under the reference"
    assert found.trace is None
    assert verdict(of=of).known is None
    same = verdict(of=of, reference=audit(of, {"forget": 0.95, "retain": 0.95, "held_retain": 0.95}))
    assert same.known is False
    never = verdict(KNOWN | {"held_retain": 0.2}, DONE | {"held_retain": 0.2}, of, reference=reference)
    assert (never.kept, never.reasons["kept"]) == (None, "not_known")


def test_a_reference_counts_where_there_are_unseen_records():
    # The unseen records were partly taught: what is left is at their level, and far above the reference's.
    partly = KNOWN | {"unseen": 0.5}
    reference = audit(sets(), KNOWN | {"forget": 0.1, "unseen": 0.1})
    found = verdict(partly, partly | {"forget": 0.5}, reference=reference)
    assert (found.known, found.forgotten) == (True, False)
    assert verdict(partly, partly | {"forget": 0.5}).forgotten is True
    # The forget set can be guessed: the reference knows it as well, so nothing was ever memorised.
    easy = audit(sets(), KNOWN)
    assert verdict(after=KNOWN, reference=easy).known is False
    # A reference finds the wholly remembered person too.
    one = verdict(after=DONE | {"forget": people([0.95] + [0.3] * 19)}, reference=audit(sets(), DONE))
    assert (one.forgotten, one.worst_remembered.subject) == (False, "forget 0")


def test_what_a_stress_test_brings_back_counts():
    of = sets()
    groups = {"in 4 bits": {"forget": [row.subject for row in of.forget], "unseen": [row.subject for row in of.unseen]}}

    def under(forget):
        values = {
            model: {
                "in 4 bits": {"forget": rows(even(level, 100))["nll"] * 0 + level, "unseen": torch.full((100,), 0.3)}
            }
            for model, level in (("before", 0.95), ("after", forget))
        }
        return verdict(stressed=Stressed(groups, values["before"], values["after"]))

    assert under(0.3).forgotten is True
    back = under(0.8)
    assert back.forgotten is False
    assert holds(back.forgetting)["fact_probability, in 4 bits"] is False


def test_perplexity_is_compared_text_by_text():
    of = sets(general=6)
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
