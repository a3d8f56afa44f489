"""From results to pages that people read."""

from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.render import render_html, render_text

__all__ = ["Document", "Figure", "Row", "Section", "Table", "Verdict", "render_html", "render_text"]
