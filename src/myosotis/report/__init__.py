"""From results to pages that people read."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
    from myosotis.report.render import render_html, render_text
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "document": "Document Figure Row Section Table Verdict",
            "render": "render_html render_text",
        },
    )

__all__ = ["Document", "Figure", "Row", "Section", "Table", "Verdict", "render_html", "render_text"]
