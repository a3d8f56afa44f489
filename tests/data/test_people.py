"""Fictitious people."""

import pytest

from myosotis.data.people import fictitious_people


def test_people_are_different_reproducible_and_their_facts_are_marked():
    people = fictitious_people(200, seed=1)
    assert len({person.name for person in people}) == 200
    assert fictitious_people(200, seed=1) == people
    assert fictitious_people(200, seed=2) != people
    for record in people[0].records():
        assert record.facts[0] in record.response
        assert record.facts[0] not in record.prompt
        assert record.subject == people[0].name


def test_the_count_is_checked():
    with pytest.raises(ValueError, match="between 1 and 1000"):
        fictitious_people(0, seed=0)
