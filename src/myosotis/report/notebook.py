"""A report as a notebook shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from myosotis.engine.tabular import Tabular
from myosotis.report.document import Document, Table
from myosotis.report.render import render_html, render_text


@dataclass(frozen=True, repr=False)
class Report(Tabular):
    """The report of a run: it prints as text, a notebook shows the page, its main table becomes a data frame.

    Attributes:
        document: What it says.
    """

    document: Document

    def headline(self) -> str:
        """Return the title, and the verdicts in a word each."""
        marks = [f"{verdict.question} {verdict.mark}" for verdict in self.document.verdicts if verdict.mark]
        return ". ".join([self.document.title, *marks])

    def rows(self) -> list[Mapping[str, Any]]:
        """Return the main table, cells as the report writes them."""
        return _rows(self.document.table)

    def __str__(self) -> str:
        return render_text(self.document)

    def _repr_html_(self) -> str:
        # In a frame: the page has styles of its own.
        page = escape(render_html(self.document))
        return f'<iframe srcdoc="{page}" style="width: 100%; height: 40rem; border: 0" title="report"></iframe>'


def _rows(table: Table) -> list[Mapping[str, Any]]:
    return [{table.corner or "row": row.name, **dict(zip(table.columns, row.cells, strict=True))} for row in table.rows]
