from .document import (
    Document as Document,
    Figure as Figure,
    Row as Row,
    Section as Section,
    Step as Step,
    Table as Table,
    Verdict as Verdict,
)
from .render import render_html as render_html, render_text as render_text
