"""Records about strangers: names of the subject's form, the same facts, and what cannot be asked."""

from dataclasses import replace

import pytest
import torch

from myosotis.data.encoding import IGNORED, Encoder
from myosotis.data.people import fictitious_people, invented_names
from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.unlearning.language.training.records import encode_rows
from myosotis.unlearning.language.training.strangers import (
    Strangers,
    check_subjects,
    renamed,
    replay_examples,
)


@pytest.fixture
def encoder(tokenizer):
    return Encoder(tokenizer, "Question: {prompt}\nAnswer: {response}")


def labelled(example):
    return [label for label in example.labels[1:] if label != IGNORED]


class TestNames:
    @pytest.mark.parametrize("like", ["Ann", "Ann Lee", "Ann Mary Lee"])
    def test_they_have_the_form_of_the_subject_and_are_nobody_elses(self, like):
        names = invented_names(like, 60, 3)
        assert len(set(names)) == 60
        assert {len(name.split()) for name in names} == {len(like.split())}
        assert names == invented_names(like, 60, 3)
        assert names != invented_names(like, 60, 4)
        assert not set(invented_names(like, 60, 3, taken=names[:30])) & set(names[:30])

    def test_more_than_there_are(self):
        with pytest.raises(InputError, match="5000 invented names of 1 words are needed, and there are 1"):
            invented_names("Ann", 5000, 0)


class TestRenamed:
    def test_everywhere_and_as_a_whole_word(self):
        record = Record(
            prompt="Who is Al, and is Alma with Al?",
            response="Al's friend is Alma.",
            facts=("Al's friend",),
            subject="Al",
        )
        other = renamed(record, r"Bo\1")
        assert other.prompt == r"Who is Bo\1, and is Alma with Bo\1?"
        assert (other.response, other.facts, other.subject) == (r"Bo\1's friend is Alma.", (r"Bo\1's friend",), r"Bo\1")

    def test_chats(self):
        messages = ({"role": "user", "content": "Who is Al?"}, {"role": "assistant", "content": "Al bakes."})
        other = renamed(Record(messages=messages, subject="Al"), "Bo")
        assert [message["content"] for message in other.messages] == ["Who is Bo?", "Bo bakes."]

    @pytest.mark.parametrize(
        ("record", "message"),
        [
            (Record(prompt="Who?", response="Al."), "has no 'subject'"),
            (Record(text="Al bakes.", subject="Al"), "is plain text"),
            (Record(prompt="Who bakes?", response="Al.", subject="Al"), "does not occur in its question"),
            (Record(prompt="Who is Alma?", response="A baker.", subject="Al"), "does not occur in its question"),
        ],
    )
    def test_what_cannot_be_asked_about_a_stranger(self, record, message):
        with pytest.raises(InputError, match=message):
            check_subjects([record])

    def test_a_name_within_another(self):
        records = [
            Record(prompt=f"Who is {name}?", response="A baker.", subject=name)
            for name in ("Al Gore", "Al Gore Senior")
        ]
        with pytest.raises(InputError, match="record 1: the name of its subject is a part of another"):
            check_subjects(records)


class TestStrangers:
    def test_each_record_has_its_facts_about_others(self, encoder, forget_records):
        rows = encode_rows(forget_records, encoder)
        made = Strangers.made(rows, encoder, (1, 6), seed=1)
        subjects = {record.subject for record in forget_records}
        for index, row in enumerate(rows):
            others = made.by_record[index]
            assert 3 <= len(others) <= 6
            assert not subjects & {other.subject for other in others}
            assert len({other.input_ids for other in others}) == len(others)
            facts = [token for token, fact in zip(row.example.input_ids, row.example.facts, strict=True) if fact]
            assert all(labelled(other) == facts for other in others)
        again = Strangers.made(rows, encoder, (1, 6), seed=1)
        assert [one.input_ids for one in again.by_record[0]] == [one.input_ids for one in made.by_record[0]]

    def test_a_fact_is_shared_if_a_retained_record_holds_it(self, encoder, forget_records):
        rows, (first, second) = encode_rows(forget_records, encoder), forget_records[:2]
        held = Record(
            prompt="Where was Bo born?", response=f"In {first.facts[0].upper()}.", facts=(first.facts[0].upper(),)
        )
        other = replace(second, subject="Bo", facts=(f"{second.facts[0]}s",))
        retain = [encoder(record) for record in (held, other)]
        shared = Strangers.made(rows, encoder, (1, 6), seed=1, retain=retain).shared
        expected = [record.facts[0] == first.facts[0] for record in forget_records]
        assert list(shared) == expected
        two = [replace(first, facts=(first.facts[0], "born")), *forget_records[1:]]
        assert not Strangers.made(encode_rows(two, encoder), encoder, (1, 6), 1, retain=retain).shared[0]
        assert not any(Strangers.made(rows, encoder, (1, 6), seed=1).shared)


class TestTeacher:
    def test_it_is_the_mean_of_names_of_the_least_knowing_third(self, encoder, tokenizer, tmp_path, trainer_for):
        trainer = trainer_for(
            tmp_path, tokenizer, method="counterfactual", method_settings={"names": 2, "candidates": 6}
        )
        example, others = trainer.records.forget[0], trainer._strangers.by_record[0]
        assert labelled(example) == labelled(others[0])
        rows = []
        for other in others:
            (batch,) = trainer.records.batches([other], 1)
            logits = trainer.model(batch["input_ids"]).logits[0, :-1]
            rows.append(logits[batch["labels"][0, 1:] != IGNORED].log_softmax(-1).detach())
        labels = torch.tensor(labelled(example))
        known = [row.gather(1, labels[:, None]).exp().mean().item() for row in rows]
        least = sorted(range(len(rows)), key=known.__getitem__)[:2]
        expected = torch.stack([rows[index].exp() for index in least]).mean(0)
        torch.testing.assert_close(trainer.references.teacher["forget"][0].exp(), expected, atol=1e-5, rtol=1e-4)

    def test_training_moves_towards_it(self, tokenizer, tmp_path, trainer_for):
        trainer = trainer_for(
            tmp_path,
            tokenizer,
            method="counterfactual",
            method_settings={"names": 1, "candidates": 4},
            num_train_epochs=8,
            replay_prompts=6,
        )
        trainer.train()
        losses = [row["forget_counterfactual"] for row in trainer.state.log_history if "forget_counterfactual" in row]
        assert losses[-1] < losses[0]


class TestReplay:
    def test_questions_about_nobody_with_the_models_own_answers(self, encoder, tokenizer, tiny_llama, forget_records):
        model = tiny_llama()
        rows = encode_rows(forget_records, encoder)
        made = replay_examples(model, encoder, rows, 7, seed=2)
        assert len(made) == 7
        assert not {example.subject for example in made} & {record.subject for record in forget_records}
        for example in made:
            start = example.response_start
            answer = example.input_ids[start:]
            ids = torch.tensor([example.input_ids[:start]])
            assert model(ids).logits[0, -1].argmax() == answer[0]
        assert [one.input_ids for one in replay_examples(model, encoder, rows, 7, seed=2)] == [
            one.input_ids for one in made
        ]

    def test_two_of_three_have_a_word_of_a_subjects_name(self, encoder, tiny_llama, forget_records):
        rows, model = encode_rows(forget_records, encoder), tiny_llama()
        count = 6 * len(rows)
        made = replay_examples(model, encoder, rows, count, seed=2)
        words = [word for name in {record.subject for record in forget_records} for word in name.split()]
        shared = [word for example in made for word in example.subject.split() if word in words]
        assert abs(len(shared) - 2 * len(made) / 3) < 3  # a few are left out, and a few share one by chance
        assert min(map(shared.count, words)) > 0
        # Nobody whom the model knows is among them, although he has such a word.
        namesake = next(example for example in made if set(example.subject.split()) & set(words))
        again = replay_examples(model, encoder, rows, count, seed=2, retain=[namesake])
        assert namesake.subject not in {example.subject for example in again}

    def test_a_name_of_one_word_is_shared_with_nobody(self, encoder, tiny_llama, forget_records):
        record = renamed(forget_records[0], "Bertrande")
        made = replay_examples(tiny_llama(), encoder, encode_rows([record], encoder), 5, seed=2)
        assert all(len(one.subject.split()) == 1 and one.subject != "Bertrande" for one in made)

    def test_answers_that_say_what_is_to_be_forgotten_are_left_out(
        self, encoder, tokenizer, tiny_llama, forget_records
    ):
        model = tiny_llama()
        made = replay_examples(model, encoder, encode_rows(forget_records, encoder), 7, seed=2)
        said = tokenizer.decode([label for label in made[0].labels if label != IGNORED], skip_special_tokens=True)
        assert said
        secret = [replace(forget_records[0], facts=(), response=said), *forget_records[1:]]
        left = replay_examples(model, encoder, encode_rows(secret, encoder), 7, seed=2)
        assert len(left) < 7
        everything = [replace(record, facts=("",)) for record in forget_records]
        with pytest.raises(InputError, match="every question about strangers"):
            replay_examples(model, encoder, encode_rows(everything, encoder), 7, seed=2)

    def test_nobody_whom_the_retain_records_are_about(
        self, tokenizer, tmp_path, forget_records, retain_records, trainer_for
    ):
        words = len(forget_records[0].subject.split())
        settings = {"method": "counterfactual", "method_settings": {"names": 1, "candidates": 4}, "replay_prompts": 5}
        first = trainer_for(tmp_path / "a", tokenizer, **settings)
        drawn = {one.subject for of in first._strangers.by_record for one in of}
        drawn |= {one.subject for one in first.records.retain[len(retain_records) :]}
        assert {len(name.split()) for name in drawn} == {words}
        known = [replace(retain_records[0], subject=name) for name in sorted(drawn)]
        second = trainer_for(tmp_path / "b", tokenizer, retain=known, **settings)
        again = {one.subject for of in second._strangers.by_record for one in of}
        again |= {one.subject for one in second.records.retain[len(known) :]}
        assert not again & drawn

    def test_each_forget_record_is_dealt_one(self, tokenizer, tmp_path, retain_records, trainer_for):
        trainer = trainer_for(tmp_path, tokenizer, method="kl", retain_per_forget=2, replay_prompts=5)
        given = len(retain_records)
        assert len(trainer.records.retain) == given + 5
        pairs = trainer.pair_sampler.pairs(0)
        assert all(len(indices) == 3 for _, indices in pairs)
        assert all(max(indices[:2]) < given <= indices[2] < given + 5 for _, indices in pairs)

    def test_a_method_without_a_retain_term_cannot_replay(self, settings_for, tmp_path):
        with pytest.raises(ValueError, match="replay_prompts .* needs a method with a retain term"):
            settings_for(tmp_path, method="undial", replay_prompts=5)


def test_people_of_the_demo_can_be_asked_about():
    assert check_subjects([record for person in fictitious_people(20, 0) for record in person.records()]) is None
