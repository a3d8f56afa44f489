"""What a report says, apart from how it looks. Every room fills this in; :mod:`myosotis.report.render` draws it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """One question and its answer.

    Attributes:
        question: What the reader came to ask.
        answer: The verdict in one sentence, with the figures that it rests on.
        holds: True for yes, False for no, None where there is no yes or no to it.
        undecided: Whether a yes or no was asked for and cannot be given.
        subject: Name of the run that it is about, in a report on several.
    """

    question: str
    answer: str
    holds: bool | None = None
    undecided: bool = False
    subject: str = ""

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
    """A table whose first column names the rows.

    Attributes:
        caption: What it is.
        columns: Headings of the other columns.
        rows: Its rows.
        corner: Heading of the first column.
        words: Whether its cells are words, which are set to the left, and not figures.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Row]
    corner: str = ""
    words: bool = False


@dataclass(frozen=True)
class Figure:
    """An inline SVG and a caption that says what to see.

    Attributes:
        svg: The drawing; empty where there is too little to draw and the caption says it in words.
        caption: What to see. Its first sentence is the accessible name of the drawing.
        wide: Whether it takes the width of the page.
    """

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
class Step:
    """Something to do next: a sentence, and the settings that do it in another run, as ``key=value``.

    Attributes:
        text: What to do, and why.
        settings: Overrides for ``myosotis run``; none where data or a decision are asked for.
    """

    text: str
    settings: Sequence[str] = ()

    @property
    def options(self) -> str:
        """The settings as options of the command, quoted for a shell.

        Example:
            >>> Step("Train longer.", ["training.epochs=40", "method={name: ga}"]).options
            "--set training.epochs=40 --set 'method={name: ga}'"
        """
        return " ".join(f"--set {shlex.quote(setting)}" for setting in self.settings)


@dataclass(frozen=True)
class Document:
    """A report, top to bottom.

    Attributes:
        title: Title of the page.
        subtitle: What the run was, in a sentence or two.
        verdicts: Questions and answers.
        table: The main table.
        headline: The verdict in one sentence.
        facts: Name and value of what identifies the run: date, operator, request, model.
        next_steps: What to do about answers that are no or undecided.
        limits: What the report does not show, a sentence or two each.
        overview: Tables above the main one: the criteria of the verdicts, or the verdicts of several runs.
        figures: Plots and pictures.
        sections: How it was done, in detail.
    """

    title: str
    subtitle: str
    verdicts: Sequence[Verdict]
    table: Table
    headline: str = ""
    facts: Sequence[tuple[str, str]] = ()
    next_steps: Sequence[Step] = ()
    limits: Sequence[str] = ()
    overview: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    sections: Sequence[Section] = ()
