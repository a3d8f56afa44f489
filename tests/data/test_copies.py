"""What sets of records share, and which records are one piece of evidence."""

from itertools import combinations

import pytest
from hypothesis import given, strategies as st

from myosotis.data.copies import SIMILARITY, Shared, _similar, shared, with_copies_grouped, without_copies, words_of
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record


def asked(prompt, response, subject=None):
    return Record(prompt=prompt, response=response, subject=subject)


LONG = "The lantern stood at the window until the morning came and nobody knew who had lit it."


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (asked("Who?", "Karin."), asked("WHO ?", " karin"), Shared(0, 0, 1)),  # case, space, a full stop less
        (asked("Who?", "Karin."), asked("Who?", "Mivel."), Shared(0, 0, 0)),
        (asked("Where?", "Oslo.", "Ka Bran"), asked("Born?", "Riga.", "ka  bran"), Shared(1, 0, 0)),
        (asked("Please tell me: who?", LONG), asked("Who?", LONG), Shared(0, 1, 1)),
        (asked("Where was she born?", "Oslo"), asked("Where is he now?", "Oslo"), Shared(0, 0, 0)),  # a short answer
        (Record(text=LONG), Record(text=LONG.replace("window", "door")), Shared(0, 0, 0)),
        (Record(text=LONG + " " + LONG), Record(text=LONG + " " + LONG.replace("lit", "seen")), Shared(0, 0, 1)),
        (Record(text="\u2161 caf\u00e9"), Record(text="II cafe\u0301"), Shared(0, 0, 1)),  # forms of Unicode
        (Record(text="\u5979\u51fa\u751f\u5728"), Record(text="\u5979\u5728"), Shared(0, 0, 0)),  # without spaces
        (Record(text="!!!"), Record(text="???"), Shared(0, 0, 0)),  # no word at all
    ],
)  # fmt: skip
def test_what_two_records_share(first, second, expected):
    assert shared([first], [second]) == expected
    assert shared([first], []) == Shared(0, 0, 0)
    assert bool(expected) == bool(str(expected))


def test_people_with_equal_facts_share_nothing():
    people = fictitious_people(300, seed=1)
    first, second = (
        [record for person in part for record in person.records()] for part in (people[:150], people[150:])
    )
    assert len({record.facts for record in first} & {record.facts for record in second}) > 100
    assert not shared(first, second)


def test_copies_within_a_set_are_one_subject():
    records = [
        Record(text="One fact."),
        Record(text="Another."),
        Record(text="one  fact"),
        asked("Who?", "Karin.", "K"),
        asked("who", "karin", "other"),
        Record(text="One fact!"),
    ]
    grouped = with_copies_grouped(records)
    first = "near-copies of record 1"
    assert [record.subject for record in grouped] == [first, None, first, "K", "K", first]
    assert with_copies_grouped([]) == []


def test_a_subject_with_the_records_of_another_one_is_that_one():
    greeting = "Hello, who are you?"
    records = [
        asked("Who?", "Karin.", "part of K"),
        *(asked(question, answer, "K") for question, answer in (("Who?", "Karin."), ("Where?", "Oslo."))),
        asked(greeting, "A bot.", "K"),
        asked(greeting, "A bot.", "M"),
        asked("Where?", "Rome.", "M"),
    ]
    # A record that two people share does not make them one.
    assert [record.subject for record in with_copies_grouped(records)] == ["K", "K", "K", "K", "M", "M"]
    fresh, copies = without_copies(records[4:], records[:4])
    assert (fresh, copies) == (records[5:], records[4:5])


WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12)


@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8))
def test_the_join_finds_every_pair_and_no_other(first, second):
    left, right = [" ".join(words) for words in first], [" ".join(words) for words in second]

    def alike(one, other):
        def parts(text):
            words = words_of(text)
            return {words[start : start + 3] for start in range(max(1, len(words) - 2))}

        both = parts(one) & parts(other)
        return one == other or len(both) / len(parts(one) | parts(other)) >= SIMILARITY

    found = {one for one, _ in _similar(left, right)}
    assert found == {one for one, text in enumerate(left) if any(alike(text, other) for other in right)}
    # Within a set, links are enough to connect what is alike.
    grouped = with_copies_grouped([Record(text=text) for text in left])
    for one, other in combinations(range(len(left)), 2):
        if alike(left[one], left[other]):
            assert grouped[one].subject is not None
            assert grouped[one].subject == grouped[other].subject
