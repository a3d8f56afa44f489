"""What a report says, apart from how it looks. Every room fills this in; :mod:`myosotis.report.render` draws it."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """One question and its answer.

    Attributes:
        question: What the reader came to ask.
        answer: The verdict in one sentence, with the figures that it rests on.
        holds: True for yes, False for no, None where there is no yes or no to it.
        undecided: Whether a yes or no was asked for and cannot be given.
    """

    question: str
    answer: str
    holds: bool | None = None
    undecided: bool = False

    @property
    def mark(self) -> str:
        """The answer in a word; empty where there is none.

        Example:
            >>> Verdict("Is it forgotten?", "Nothing to compare with.", undecided=True).mark
            'undecided'
        """
        if self.holds is None:
            return "undecided" if self.undecided else ""
        return "yes" if self.holds else "no"


@dataclass(frozen=True)
class Row:
    """One line of a table: its name, its cells, and a remark for the reader."""

    name: str
    cells: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    corner: str = ""


@dataclass(frozen=True)
class Figure:
    """An inline SVG and a caption that says what to see; a wide one has the width of the page."""

    svg: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """A titled part: paragraphs, then tables; the tables are folded away until the reader asks for them."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True)
class Document:
    """A report, top to bottom: verdicts, the table, figures, then how it was done and what it does not show."""

    title: str
    subtitle: str
    verdicts: Sequence[Verdict]
    table: Table
    figures: Sequence[Figure] = ()
    sections: Sequence[Section] = field(default_factory=tuple)
