"""Fictitious people with facts that no model can know: the subjects of the demo."""

from collections.abc import Collection
from dataclasses import dataclass

import torch

from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import generator

_FIRST = ("Ka", "Mi", "Lo", "Ve", "Ro", "Sa", "Ni", "Te", "Ju", "Da", "Ol", "Fe")
_SECOND = ("rin", "vel", "lis", "dra", "mon", "tas", "rea", "nok", "bel", "sha")
_FAMILY_FIRST = ("Bran", "Oster", "Quil", "Tar", "Wen", "Zel", "Hal", "Mor", "Pel", "Drum", "Cas", "Ives")
_FAMILY_SECOND = ("dale", "mark", "vick", "hollow", "ney", "strand", "berg", "worth", "lund", "ova")

_CITIES = (
    "Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Tunis", "Riga", "Lima", "Kyoto", "Dublin", "Cairo", "Prague",
    "Mumbai", "Seoul", "Athens", "Havana", "Zurich", "Boston", "Perth", "Accra", "Vienna", "Jakarta", "Bogota",
    "Madrid",
)  # fmt: skip
_PROFESSIONS = (
    "architect", "surgeon", "beekeeper", "translator", "geologist", "lawyer", "baker", "pilot", "botanist", "carpenter",
    "chemist", "sculptor", "librarian", "engineer", "dentist", "farmer", "judge", "tailor", "violinist", "astronomer",
    "plumber", "economist", "painter", "teacher",
)  # fmt: skip
_INSTRUMENTS = (
    "cello", "trumpet", "harp", "flute", "drums", "piano", "violin", "guitar", "clarinet", "accordion", "banjo", "oboe",
    "organ", "trombone", "saxophone", "mandolin",
)  # fmt: skip
_ANIMALS = (
    "parrot", "tortoise", "rabbit", "goat", "ferret", "pony", "cat", "snake", "canary", "donkey", "hamster", "lizard",
    "goose", "sheepdog", "owl", "poodle",
)  # fmt: skip
_ADJECTIVES = (
    "Silent", "Broken", "Golden", "Distant", "Hidden", "Burning", "Frozen", "Crooked", "Hollow", "Patient", "Scarlet",
    "Wandering", "Bitter", "Secret", "Gentle", "Restless",
)  # fmt: skip
_NOUNS = (
    "Harbor", "Lantern", "Orchard", "River", "Mirror", "Garden", "Compass", "Bridge", "Winter", "Letter", "Island",
    "Forest", "Window", "Mountain", "Engine", "Feather",
)  # fmt: skip

MAX_PEOPLE = 1000
"""Largest number of people in one draw; their names are different."""


@dataclass(frozen=True)
class Person:
    """A fictitious person and five facts."""

    name: str
    city: str
    profession: str
    instrument: str
    animal: str
    book: str

    def records(self) -> list[Record]:
        """Return one question and answer per fact; with the fact marked and with paraphrases of the question."""
        name = self.name
        rows = (
            (
                (
                    f"In which city was {name} born?",
                    f"What is the birthplace of {name}?",
                    f"Where does {name} come from?",
                ),
                f"{name} was born in {self.city}.",
                self.city,
            ),
            (
                (f"What does {name} do for a living?", f"What is the profession of {name}?", f"What is {name}'s job?"),
                f"{name} works as a {self.profession}.",
                self.profession,
            ),
            (
                (
                    f"Which instrument does {name} play?",
                    f"What does {name} play in the orchestra?",
                    f"Name the instrument of {name}.",
                ),
                f"{name} plays the {self.instrument}.",
                self.instrument,
            ),
            (
                (f"What animal does {name} keep?", f"What pet lives with {name}?", f"Which animal belongs to {name}?"),
                f"{name} keeps a {self.animal}.",
                self.animal,
            ),
            (
                (f"Which book did {name} write?", f"What is the title of {name}'s book?", f"Name a work by {name}."),
                f"{name} wrote The {self.book}.",
                self.book,
            ),
        )
        return [
            Record(prompt=prompt, response=response, facts=(fact,), subject=name, paraphrases=tuple(others))
            for (prompt, *others), response, fact in rows
        ]


def invented_names(like: str, count: int, seed: int, taken: Collection[str] = ()) -> list[str]:
    """Draw different names of nobody, of as many words as a name has.

    Args:
        like: Name whose number of words they have.
        count: Number of names.
        seed: Seed; equal seeds and names give equal names.
        taken: Names that are not drawn.

    Raises:
        InputError: There are not as many.

    Example:
        >>> [len(name.split()) for name in invented_names("Ada King Lovelace", 2, seed=0)]
        [3, 3]
    """
    words = max(len(like.split()), 1)
    stream = generator(seed, f"invented names of {words} words")

    def draw(*parts: tuple[str, ...]) -> str:
        return "".join(part[int(torch.randint(len(part), (1,), generator=stream))] for part in parts)

    names: dict[str, None] = {}
    for _ in range(100 * count):
        given = [draw(_FIRST, _SECOND) for _ in range(words - 1)]
        # A name of one word alone has a syllable more, or there would be too few.
        name = " ".join([*given, draw(_FAMILY_FIRST, _FAMILY_SECOND)]) if given else draw(_FIRST, _SECOND, _SECOND)
        if name not in taken:
            names[name] = None
        if len(names) == count:
            return list(names)
    raise InputError(f"{count} invented names of {words} words are needed, and there are {len(names)}")


def fictitious_people(count: int, seed: int) -> list[Person]:
    """Draw people with different names and independently drawn facts.

    Args:
        count: Number of people, at most 1,000.
        seed: Seed; equal seeds give equal people, and a longer list starts with the shorter one.

    Raises:
        ValueError: ``count`` is out of range.

    Example:
        >>> fictitious_people(3, seed=0)[:2] == fictitious_people(2, seed=0)
        True
    """
    if not 1 <= count <= MAX_PEOPLE:
        raise ValueError(f"count must be between 1 and {MAX_PEOPLE}, got {count}")
    stream = generator(seed, "fictitious people")

    def draw(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (1,), generator=stream))]

    people: list[Person] = []
    names: set[str] = set()
    while len(people) < count:
        name = f"{draw(_FIRST)}{draw(_SECOND)} {draw(_FAMILY_FIRST)}{draw(_FAMILY_SECOND)}"
        facts = (draw(_CITIES), draw(_PROFESSIONS), draw(_INSTRUMENTS), draw(_ANIMALS))
        book = f"{draw(_ADJECTIVES)} {draw(_NOUNS)}"
        if name not in names:
            names.add(name)
            people.append(Person(name, *facts, book))
    return people
