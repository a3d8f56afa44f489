"""Does it still work? What a broken model's own answers look like, and what is shown of them."""

import math
from dataclasses import replace

import pytest
import torch

from myosotis.data.encoding import Encoder, Example
from myosotis.unlearning.language.audit import own_answers
from myosotis.unlearning.language.audit.audit import Audit, audit_model, judged_by
from myosotis.unlearning.language.audit.own_answers import expected_by, form_of, masked, shared_words
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.audit.works import still_works, working_comparisons

SOUND = {"answer_repetition": 0.0, "answer_runs_on": 0.0, "answer_silence": 0.0, "answer_surprise": 0.0}


def examples(subjects, records=5):
    return [
        Example((1, 2, number), (-100, 2, number), (False, True, True), f"subject {subject}")
        for subject in range(subjects)
        for number in range(records)
    ]


def audit(of, **broken):
    values = {}
    for split in ("forget", "held_retain", "retain"):
        count = len(getattr(of, split))
        levels = SOUND | broken.get(split, {})
        noise = 0.01 * torch.arange(count, dtype=torch.float64).remainder(3)
        values[split] = {name: level + noise for name, level in levels.items()} if count else {}
    return Audit({}, values)


def works(of=None, **broken):
    of = of or AuditSets(examples(4), held_retain=examples(8))
    return still_works(working_comparisons(audit(of), audit(of, **broken), of, 0.95))


def test_the_same_answers_as_before_work():
    assert works() is True


@pytest.mark.parametrize("split", ["forget", "held_retain"])
@pytest.mark.parametrize(
    "broken",
    [{"answer_repetition": 0.5}, {"answer_runs_on": 1.0}, {"answer_silence": 1.0}, {"answer_surprise": 0.6}],
    ids=["stutters", "runs on", "falls silent", "talks nonsense"],
)
def test_one_kind_of_breakdown_is_enough(split, broken):
    assert works(**{split: broken}) is False


def test_refusals_and_less_repetition_are_no_breakdown():
    assert works(forget={"answer_surprise": 0.18, "answer_repetition": -0.01}) is True


def test_of_one_person_the_records_count_and_of_two_records_none_does():
    held = examples(8)
    assert works(AuditSets(examples(1), held_retain=held), forget={"answer_repetition": 0.5}) is False
    few = AuditSets(examples(1, records=2), held_retain=held)
    assert works(few, forget={"answer_repetition": 0.5}) is True
    rows = working_comparisons(audit(few), audit(few), few, 0.95)
    assert [row.incomparable for row in rows if row.name.startswith("forget")] == ["less than 4 records"] * 4


def test_records_to_retain_stand_in_for_held_out_ones_that_are_missing():
    of = AuditSets(examples(4), retain=examples(6))
    assert works(of, retain={"answer_silence": 1.0}) is False
    assert {row.name.split("_")[0] for row in working_comparisons(audit(of), audit(of), of, 0.95)} == {
        "forget",
        "retain",
    }


def test_an_audit_of_an_earlier_version_leaves_the_question_open():
    of = AuditSets(examples(4), held_retain=examples(8))
    assert working_comparisons(Audit({}, {"forget": {}}), audit(of), of, 0.95) == []


@pytest.mark.parametrize(("repetition", "said"), [(0.0, None), (0.5, False)])
def test_a_second_audit_without_the_model_before_gives_no_yes(repetition, said):
    of = AuditSets(examples(4), held_retain=examples(8))
    after = audit(of, forget={"answer_repetition": repetition})
    del after.values["forget"]["answer_surprise"]
    assert still_works(working_comparisons(audit(of), after, of, 0.95)) is said


def test_form_of_silence_and_of_answers_without_an_end():
    form = form_of([[0], [], [7, 7, 7, 7]], {0})
    assert form["answer_length"].tolist() == [0, 0, 4]
    assert form["answer_runs_on"].tolist() == [0, 0, 1]
    assert form["answer_silence"].tolist() == [1, 1, 0]
    assert form["answer_repetition"].tolist() == [0, 0, pytest.approx(2 / 3)]


def test_a_model_expects_its_own_answers_and_not_what_it_finds_least_likely(
    tokenizer, tiny_model, forget_records, monkeypatch
):
    monkeypatch.setattr(own_answers, "EXPECTED", 2)
    rows = [Encoder(tokenizer)(record) for record in forget_records[:3]]
    sets = AuditSets(forget=rows)
    audited = audit_model(tiny_model, tokenizer, sets, n=2, max_new_tokens=6)
    judged = judged_by(tiny_model, audited, sets, batch_size=2)
    values = judged.values["forget"]
    assert values["answer_surprise"].tolist() == [0, 0, 0]
    assert judged.metrics["forget"]["answer_nll"]["mean"] == pytest.approx(values["answer_nll"].mean().item())
    assert judged.metrics["forget"]["nll"] == audited.metrics["forget"]["nll"]
    for example, answer, nll in zip(rows, audited.answers["forget"], values["answer_nll"].tolist(), strict=True):
        start = example.response_start
        with torch.no_grad():
            logits = tiny_model(torch.tensor([[*example.input_ids[:start], *answer]])).logits[0, start - 1 : -1]
        expected = -logits.log_softmax(-1).gather(-1, torch.tensor(answer).unsqueeze(-1)).mean().item()
        assert nll == pytest.approx(expected, rel=1e-4)
    with torch.no_grad():
        least = tiny_model(torch.tensor([rows[0].input_ids[: rows[0].response_start]])).logits[0, -1].argmin().item()
    odd = expected_by(tiny_model, rows[:2], [[least], []])
    assert odd["answer_surprise"][0] == 1
    assert math.isnan(odd["answer_nll"][1].item())


def test_what_few_subjects_share_is_masked():
    texts = [f"{name} was born in {city}." for name, city in (("Ada", "Rome"), ("Bo", "Rome"), ("Cy", "Oslo"))]
    assert shared_words(list(enumerate(texts))) == set()
    words = shared_words([*enumerate(texts), (3, "Di was born in Bonn."), (4, "Ed was born in Lima.")])
    assert words == {"was", "born", "in"}
    assert masked("Ada WAS was born, in 1968 in Rome", words) == "▒▒▒ WAS was born, in ▒▒▒ in ▒▒▒"
    # Of one talkative subject nothing is shown.
    assert shared_words([(0, text) for text in texts * 4]) == set()


def test_answers_are_not_stored(tokenizer, tiny_model, forget_records):
    sets = AuditSets(forget=[Encoder(tokenizer)(record) for record in forget_records[:2]])
    audited = audit_model(tiny_model, tokenizer, sets, n=2, max_new_tokens=6)
    assert Audit.read(audited.as_json()).answers == {}
    assert replace(audited, answers={}).as_json() == audited.as_json()
