"""A document as one HTML file without any outside reference, or as text for the console."""

import io
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from myosotis import __version__
from myosotis.engine.files import write_text
from myosotis.engine.printable import printable
from myosotis.report.document import Document, Figure, Table, Verdict

_NUMBER = r"[-+]?\d[\d.,]*"
_TOGETHER = re.compile(rf"[(\[]?{_NUMBER}(?:,| to) {_NUMBER}[)\]]?|\d{{4}}-\d\d-\d\d \d\d:\d\d(?: UTC)?")


def render_html(document: Document) -> str:
    """Return the page; everything in it is escaped, but for the figures, which the package drew itself."""
    identifiers = _Identifiers()
    groups = [
        (
            subject,
            identifiers.of(subject or "verdicts"),
            [(verdict, identifiers.of(verdict.question)) for verdict in own],
        )
        for subject, own in groupby(document.verdicts, key=lambda verdict: verdict.subject)
    ]
    return page(
        "report.html.j2",
        document=document,
        groups=groups,
        figures=[(_named(figure), figure.caption, figure.wide) for figure in document.figures],
        sections=[(section, identifiers.of(section.title)) for section in document.sections],
        next_id=identifiers.of("next"),
        limits_id=identifiers.of("limits"),
        running=running_title(document.title, document.facts),
    )


def page(template: str, **content: object) -> str:
    """Return a template of the package, filled in.

    Args:
        template: Its file name.
        content: Variables of the template; every string is escaped.
    """
    environment = Environment(
        loader=PackageLoader("myosotis.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(template).render(version=__version__, **content)


def running_title(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return what stands on every printed page, as a CSS string may hold it: title and date.

    Args:
        title: Title of the page.
        facts: Facts of the page.

    Example:
        >>> running_title("Report: <a>; b", [("Finished", "2026-05-04 03:02 UTC")])
        'Report: a b, 2026-05-04 03:02 UTC'
    """
    text = ", ".join([title, *(value for name, value in facts if name == "Finished")])
    return re.sub(r" (?=[,.:)])", "", " ".join(re.sub(r"[^\w .,:()-]", " ", text).split()))


def write_html(document: Document, path: Path) -> None:
    """Write the page atomically."""
    write_text(path, render_html(document))


def render_text(document: Document, width: int = 110) -> str:
    """Return the headline, the verdicts and the open tables for a console."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    if document.headline:
        console.print(Text(printable(document.headline)))
    for verdict in document.verdicts:
        console.print(Text(printable(_line(verdict))))
    for table in (*document.overview, document.table):
        console.print()
        console.print(_text_table(table))
    return stream.getvalue()


def _text_table(table: Table) -> RichTable:
    drawn = RichTable(title=Text(printable(table.caption)), title_justify="left")
    # Folded: of a long name or figure nothing is left out.
    drawn.add_column(Text(printable(table.corner)), overflow="fold")
    for column in table.columns:
        drawn.add_column(Text(printable(column)), justify="right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable(cell)) for cell in (row.name, *row.cells)))
    return drawn


def _line(verdict: Verdict) -> str:
    subject = f"{verdict.subject}: " if verdict.subject else ""
    mark = f" {verdict.mark.upper()}." if verdict.mark else ""
    return f"{subject}{verdict.question}{mark} {verdict.answer}"


class _Identifiers:
    """Anchors of headings, each of them once on a page."""

    def __init__(self) -> None:
        self._taken: set[str] = {"main"}

    def of(self, heading: str) -> str:
        """Return the anchor of a heading: its ASCII letters and digits, numbered where another has the same."""
        words = re.findall(r"[a-z0-9]+", heading.lower())
        name = "-".join(words)[:60] or "part"
        number = 1
        unique = name
        while unique in self._taken:
            number += 1
            unique = f"{name}-{number}"
        self._taken.add(unique)
        return unique


def _named(figure: Figure) -> Markup:
    """The drawing with its accessible name: the first sentence of the caption."""
    name = first_sentence(figure.caption)
    svg = figure.svg.replace("<svg ", f'<svg aria-label="{escape(name)}" ', 1)
    return Markup(printable(svg))  # noqa: S704 - our own drawing


def first_sentence(text: str) -> str:
    """Return a text up to the end of its first sentence or clause.

    Example:
        >>> first_sentence("Accuracy of the probe: it rises. More.")
        'Accuracy of the probe'
    """
    return re.split(r"[.:;](?:\s|$)", text, maxsplit=1)[0]


def _cell(text: str) -> Markup:
    """A cell whose intervals may go below their values; intervals and times are not broken themselves."""
    parts: list[Markup] = []
    end = 0
    shown = printable(text)
    for match in _TOGETHER.finditer(shown):
        parts += [escape(shown[end : match.start()]), Markup("<span>{}</span>").format(match.group())]
        end = match.end()
    return Markup("").join([*parts, escape(shown[end:])])
