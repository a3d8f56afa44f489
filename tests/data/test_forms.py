"""Which records are alike in their wording, whoever and whatever they are about."""

import pytest

from myosotis.data.forms import Form, SharedForms, shared_forms
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record


def born(name, city, **more):
    return Record(prompt=f"Where was {name} born?", response=f"{name} was born in {city}.", subject=name, **more)


def test_two_people_share_a_template():
    assert Form.of(born("Ann", "Oslo")) == Form.of(born("Bea Moe", "New York"))
    assert shared_forms([born("Ann", "Oslo")], [born("Bea Moe", "New York")]) == SharedForms([0], [0], [])


@pytest.mark.parametrize("marked", [True, False])
def test_each_question_about_a_person_has_a_form_of_its_own(marked):
    first, second = (person.records() for person in fictitious_people(2, seed=0))
    if not marked:
        first, second = (
            [Record(prompt=row.prompt, response=row.response, subject=row.subject) for row in rows]
            for rows in (first, second)
        )
    forms = [Form.of(record) for record in first]
    assert len(set(forms)) == 5
    assert shared_forms(first[:2], second).retain == [0, 1]
    assert forms == [Form.of(record) for record in second]


def test_a_reworded_question_shares_the_form_of_the_answer():
    reworded = Record(
        prompt="Tell me the birthplace of Bea.", response="Bea was born in Rome.", facts=("Rome",), subject="Bea"
    )
    assert shared_forms([born("Ann", "Oslo", facts=("Oslo",))], [reworded]) == SharedForms([], [], [0])


def test_answers_that_are_all_fact_are_not_alike():
    first = Record(prompt="Where was Ann born?", response="Oslo", subject="Ann")
    second = Record(prompt="What does Bea play?", response="Cello", subject="Bea")
    assert shared_forms([first], [second]) == SharedForms([], [], [])


def test_chats_have_the_form_of_their_turns():
    def chat(name, city):
        turns = ("user", f"Where was {name} born?"), ("assistant", f"{name} was born in {city}.")
        return Record(messages=tuple({"role": role, "content": text} for role, text in turns), subject=name)

    assert shared_forms([chat("Ann", "Oslo")], [chat("Bea", "Rome")]).retain == [0]


def test_prose_without_a_subject_is_alike_by_five_words_in_a_row():
    forget = [Record(text="In the end nobody knew who had lit the lantern.")]
    retain = [
        Record(text="They ask: nobody knew who had lit."),
        Record(text="NOBODY knew, who had lit it."),
        Record(text="x"),
    ]
    assert shared_forms(forget, retain) == SharedForms([], [], [0, 1])
    assert shared_forms(forget, [Record(text="Surely nobody knew who came.")]) == SharedForms([], [], [])


def test_a_name_in_the_passage_does_not_hide_what_is_around_it_nor_join_it():
    forget = [Record(text="Ann and her dog were often seen there", subject="Ann")]
    assert shared_forms(forget, [Record(text="and her dog were often late")]).partly == [0]
    # Four words on either side of a name are not eight in a row.
    forget = [Record(text="it was said that Ann had gone to sea", subject="Ann")]
    assert shared_forms(forget, [Record(text="it was said that Bea had gone to sea", subject="Bea")]).retain == [0]
    assert shared_forms(forget, [Record(text="it was said that Bea", subject="Bea")]).partly == []


def test_nothing_is_alike_where_there_is_nothing():
    row = born("Ann", "Oslo")
    assert shared_forms([], []) == SharedForms([], [], [])
    assert shared_forms([row], []) == shared_forms([], [row]) == SharedForms([], [], [])
