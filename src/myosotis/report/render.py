"""A document as one HTML file without any outside reference, or as text for the console."""

import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from myosotis import __version__
from myosotis.engine.files import write_text
from myosotis.engine.printable import printable
from myosotis.report.document import Document


def render_html(document: Document) -> str:
    """Return the page; everything in it is escaped, but for the figures, which the package drew itself."""
    environment = Environment(
        loader=PackageLoader("myosotis.report"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = [(Markup(printable(figure.svg)), figure.caption, figure.wide) for figure in document.figures]  # noqa: S704 - our own drawing
    template = environment.get_template("report.html.j2")
    return template.render(document=document, figures=figures, version=__version__)


def write_html(document: Document, path: Path) -> None:
    """Write the page atomically."""
    write_text(path, render_html(document))


def render_text(document: Document, width: int = 110) -> str:
    """Return the verdicts and the table for a console."""
    stream = io.StringIO()
    console = Console(file=stream, width=width, highlight=False)
    for verdict in document.verdicts:
        mark = f" {verdict.mark.upper()}." if verdict.mark else ""
        console.print(Text(printable(f"{verdict.question}{mark} {verdict.answer}")))
    table = RichTable(title=Text(printable(document.table.caption)), title_justify="left")
    table.add_column(Text(printable(document.table.corner)))
    for column in document.table.columns:
        table.add_column(Text(printable(column)), justify="right")
    for row in document.table.rows:
        table.add_row(*(Text(printable(cell)) for cell in (row.name, *row.cells)))
    console.print()
    console.print(table)
    return stream.getvalue()
