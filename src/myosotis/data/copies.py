"""Copies and near-copies of records: shared between two sets, or repeated within one set."""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from myosotis.data.records import Record

SIMILARITY = 0.8
"""Two records are near-copies if their three-word sequences have at least this Jaccard similarity."""

_LONG_RESPONSE = 5  # words; shorter answers, like "yes" or a city, may answer different questions
_SHINGLE = 3  # words
_IDEOGRAPHS = "\u2e80-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\W{_IDEOGRAPHS}]+")


@dataclass(frozen=True)
class Shared:
    """Numbers of records of one set that are shared with another set.

    Attributes:
        subjects: Records with a subject that the other set has too.
        responses: Records with a response of at least five words that the other set has too.
        copies: Records with a near-copy in the other set, see :data:`SIMILARITY`.
    """

    subjects: int
    responses: int
    copies: int

    def __bool__(self) -> bool:
        return bool(self.subjects or self.responses or self.copies)

    def __str__(self) -> str:
        parts = [
            text
            for count, text in (
                (self.subjects, f"{self.subjects} by their subject"),
                (self.responses, f"{self.responses} by their response"),
                (self.copies, f"{self.copies} by nearly all their words"),
            )
            if count
        ]
        return ", ".join(parts)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text, whatever its case, punctuation, white space and form of Unicode.

    A Chinese or Japanese character counts as a word; a text without any word counts as one word.

    Example:
        >>> words_of("In  which city?") == words_of("in which CITY")
        True
    """
    even = unicodedata.normalize("NFKC", text).casefold()
    return tuple(_WORD.findall(even)) or (even.strip(),)


def shared(first: Sequence[Record], second: Sequence[Record]) -> Shared:
    """Return the number of records of ``first`` that are shared with ``second``.

    Args:
        first: Records, e.g. the forget set.
        second: Records, e.g. the unseen set.

    Example:
        >>> print(shared([Record(prompt="Who?", response="A. B.", subject="A")], [Record(text="A", subject="a")]))
        1 by their subject
    """
    subjects = {words_of(record.subject) for record in second if record.subject is not None}
    responses = {words for record in second if len(words := words_of(record.answer)) >= _LONG_RESPONSE}
    copied = {
        index for index, _ in _similar([record.content for record in first], [record.content for record in second])
    }
    return Shared(
        sum(record.subject is not None and words_of(record.subject) in subjects for record in first),
        sum(words_of(record.answer) in responses for record in first),
        len(copied),
    )


def with_copies_grouped(records: Sequence[Record]) -> list[Record]:
    """Return the records with a common subject for copies, which are one piece of evidence.

    Near-copies without a subject get one. A subject all of whose records another one has too, word by word, is that
    one under another name.

    Args:
        records: Records of one set.

    Example:
        >>> rows = with_copies_grouped([Record(text="One fact."), Record(text="one fact"), Record(text="Another.")])
        >>> rows[0].subject == rows[1].subject, rows[2].subject
        (True, None)
        >>> [row.subject for row in with_copies_grouped([Record(text="A b.", subject=name) for name in ("X", "Y")])]
        ['X', 'X']
    """
    leader = list(range(len(records)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    without = [index for index, record in enumerate(records) if record.subject is None]
    contents = [records[index].content for index in without]
    for first, second in _similar(contents, contents):
        low, high = sorted((find(without[first]), find(without[second])))
        leader[high] = low
    sizes = Counter(find(index) for index in without)
    names = _names_of_subjects(records)
    return [
        replace(record, subject=names[record.subject])
        if record.subject is not None
        else replace(record, subject=f"near-copies of record {find(index) + 1}")
        if sizes[find(index)] > 1
        else record
        for index, record in enumerate(records)
    ]


def _names_of_subjects(records: Sequence[Record]) -> dict[str, str]:
    """For each subject its own name, or that of one that has all of its records."""
    texts: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for record in records:
        if record.subject is not None:
            texts[record.subject].add(words_of(record.content))
            owners[words_of(record.content)].add(record.subject)
    names: dict[str, str] = {}
    # Larger ones first, of equal ones the first: who has all records of another is named before.
    order = {name: number for number, name in enumerate(sorted(texts, key=lambda name: -len(texts[name])))}
    for subject in order:
        rarest = min(texts[subject], key=lambda text: len(owners[text]))
        holders = [name for name in owners[rarest] if name in names and texts[subject] <= texts[name]]
        names[subject] = names[min(holders, key=order.__getitem__)] if holders else subject
    return names


def without_copies(records: Sequence[Record], others: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Return the records of which others hold no copy, word by word, and those of which they do.

    Example:
        >>> fresh, copies = without_copies([Record(text="A b."), Record(text="C.")], [Record(text="a B")])
        >>> [row.text for row in fresh], [row.text for row in copies]
        (['C.'], ['A b.'])
    """
    known = {words_of(record.content) for record in others}
    fresh: list[Record] = []
    copies: list[Record] = []
    for record in records:
        (copies if words_of(record.content) in known else fresh).append(record)
    return fresh, copies


def _similar(first: Sequence[str], second: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of near-copies by their indices; equal texts of one set are linked in a chain.

    An exact join by prefix filtering: two sets of a similarity of at least t share one of the rarest (1 - t) n + 1
    members of either, if all are put in the same order (Bayardo, Ma and Srikant, WWW 2007).
    """
    same_side = first is second
    left, right = _by_words(first), _by_words(second)
    for words, own in left.items():
        if same_side:
            yield from pairwise(own)
        elif words in right:
            yield from ((row, right[words][0]) for row in own)
    sets = {words: _shingles(words) for words in (*left, *right)}
    frequency = Counter(shingle for shingles in sets.values() for shingle in shingles)
    index: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for words in right:
        for shingle in _prefix(sets[words], frequency):
            index[shingle].append(words)
    for words, own in left.items():
        candidates = {other for shingle in _prefix(sets[words], frequency) for other in index[shingle]}
        for other in candidates - {words}:
            if _jaccard(sets[words], sets[other]) >= SIMILARITY:
                yield from ((row, right[other][0]) for row in own)


def _by_words(texts: Sequence[str]) -> dict[tuple[str, ...], list[int]]:
    indices: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, text in enumerate(texts):
        indices[words_of(text)].append(index)
    return indices


def _shingles(words: tuple[str, ...]) -> set[int]:
    return {hash(words[start : start + _SHINGLE]) for start in range(max(1, len(words) - _SHINGLE + 1))}


def _prefix(shingles: set[int], frequency: Counter[int]) -> list[int]:
    ordered = sorted(shingles, key=lambda shingle: (frequency[shingle], shingle))
    return ordered[: len(ordered) - math.ceil(SIMILARITY * len(ordered) - 1e-9) + 1]


def _jaccard(first: set[int], second: set[int]) -> float:
    both = len(first & second)
    return both / (len(first) + len(second) - both)
