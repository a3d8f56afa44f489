"""The form of a record: its words without the name of its subject and without its facts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from myosotis.data.copies import words_of
from myosotis.data.records import Record

PASSAGE = 5
"""Two texts share a passage if they have this many words in a row in common, names and facts left out."""

_BLANK = "…"  # no word: words_of finds none in it

Words = tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """The words of a record with a blank for the name of its subject and for each of its facts.

    Attributes:
        question: Those of the question, or of all messages before the last; none of a text.
        answer: Those of the part that is learned or forgotten. Where the answer to a question marks no facts, they are
            what it does not repeat from the question.
    """

    question: Words
    answer: Words

    @classmethod
    def of(cls, record: Record) -> "Form":
        """Return the form of a record.

        Example:
            >>> form = Form.of(Record(prompt="Where was Ann born?", response="Ann was born in Oslo.", subject="Ann"))
            >>> " ".join(form.question), " ".join(form.answer)
            ('where was … born', '… was born …')
            >>> form == Form.of(Record(prompt="Where was B born?", response="B was born in New York.", subject="B"))
            True
        """
        names = [] if record.subject is None else [words_of(record.subject)]
        asked = " ".join([record.prompt or "", *(message["content"] for message in record.messages[:-1])]).split()
        question = words_of(" ".join(asked)) if asked else ()
        answer = _blanked(words_of(record.answer), [*names, *map(words_of, record.facts)])
        if question and not record.facts:
            answer = _joined(word if word in question else _BLANK for word in answer)
        return cls(_blanked(question, names), answer)

    @property
    def says_something(self) -> bool:
        """Whether there is a word beside the blanks in the answer."""
        return any(word != _BLANK for word in self.answer)

    @property
    def passages(self) -> set[Words]:
        """All sequences of :data:`PASSAGE` words that hold no blank."""
        parts = (self.question, self.answer)
        windows = (part[start : start + PASSAGE] for part in parts for start in range(len(part) - PASSAGE + 1))
        return {window for window in windows if _BLANK not in window}


@dataclass(frozen=True)
class SharedForms:
    """Records that are alike in their wording, by their indices.

    Attributes:
        forget: Records to forget whose form a record to retain has.
        retain: Records to retain whose form a record to forget has.
        partly: Further records to retain that have the form of the answer of a record to forget, or share
            :data:`PASSAGE` words in a row with one.
    """

    forget: list[int]
    retain: list[int]
    partly: list[int]


def shared_forms(forget: Sequence[Record], retain: Sequence[Record]) -> SharedForms:
    """Return which records to forget and to retain are alike in their wording.

    Args:
        forget: Records to forget.
        retain: Records to retain.

    Example:
        >>> who = [Record(prompt=f"Who is {name}?", response=f"{name} is a cook.", subject=name) for name in ("A", "B")]
        >>> others = [Record(prompt="Is C a cook?", response="C is a cook.", subject="C"), Record(text="Rain."), who[1]]
        >>> shared_forms(who[:1], others)
        SharedForms(forget=[0], retain=[2], partly=[])
    """
    own, others = ([Form.of(record) for record in records] for records in (forget, retain))
    left, right = set(own), set(others)
    answers = {form.answer for form in own if form.says_something}
    passages = {passage for form in own for passage in form.passages}
    return SharedForms(
        [index for index, form in enumerate(own) if form in right],
        [index for index, form in enumerate(others) if form in left],
        [
            index
            for index, form in enumerate(others)
            if form not in left and (form.answer in answers or not passages.isdisjoint(form.passages))
        ],
    )


def _blanked(words: Words, parts: Sequence[Words]) -> Words:
    """The words with a blank in place of every part, of which longer ones go first."""
    for part in sorted(parts, key=len, reverse=True):
        kept, index = list[str](), 0
        while index < len(words):
            is_part = words[index : index + len(part)] == part
            kept.append(_BLANK if is_part else words[index])
            index += len(part) if is_part else 1
        words = tuple(kept)
    return _joined(words)


def _joined(words: Iterable[str]) -> Words:
    """The words with one blank for several in a row."""
    joined: list[str] = []
    for word in words:
        if word != _BLANK or joined[-1:] != [_BLANK]:
            joined.append(word)
    return tuple(joined)
