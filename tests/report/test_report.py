"""Reports: escaped, self-contained, complete."""

import re
from html.parser import HTMLParser

from myosotis.report import Document, Figure, Row, Section, Step, Table, Verdict, render_html, render_text
from myosotis.report.figures import Line, line_chart

HOSTILE = "<script>alert('x')</script> [bold]&amp;"


def document(svg=""):
    return Document(
        title=f"Title {HOSTILE}",
        subtitle=HOSTILE,
        verdicts=[
            Verdict(f"Is it forgotten? {HOSTILE}", "0.1 against 0.2.", True),
            Verdict("Is the rest kept?", "No.", False),
            Verdict("How sure?", HOSTILE),
        ],
        table=Table(f"Caption {HOSTILE}", ["Before", HOSTILE], [Row(HOSTILE, ["1", HOSTILE], HOSTILE)], "Measure"),
        facts=[("Finished", "2026-05-04 03:02 UTC"), ("Operator", HOSTILE)],
        next_steps=[Step(HOSTILE, [f"a={HOSTILE}"])],
        limits=[HOSTILE],
        overview=[Table("Criteria", ["Value"], [Row("r", ["0.5 [0.4, 0.6]"])])],
        figures=[Figure(svg, HOSTILE)] if svg else [],
        sections=[Section(HOSTILE, [HOSTILE], [Table("t", ["c"], [Row("r", [HOSTILE])])])],
    )


class Tags(HTMLParser):
    """Collects tags and checks that they are closed in order."""

    VOID = ("meta", "br", "path", "use", "rect", "line")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def chart(name="a"):
    lines = [Line("forget <b>", [0, 1, 2], [1.0, 0.5, 0.2], "forget"), Line("retain", [0, 1], [1, 1], "retain")]
    return line_chart(lines, x_label="epoch", y_label="share", levels={"unseen": (0.3, "unseen")}, name=name)


def test_what_a_user_wrote_is_escaped():
    page = render_html(document())
    assert "<script>" not in page
    assert page.count("&lt;script&gt;") == 20


def test_the_page_is_whole_and_asks_for_nothing_outside():
    page = render_html(document(chart()))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    names = [tag for tag, _ in tags.seen]
    assert not {"script", "link", "img", "iframe"} & set(names)
    for _, attributes in tags.seen:
        for key in ("src", "href", "xlink:href"):
            assert attributes.get(key, "#").startswith("#")
    assert not re.search(r"url\((?!#)", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert page.index("Is it forgotten?") < page.index("Caption") < page.index("<svg")


def test_figures_take_the_pages_ink_and_do_not_share_names():
    first, second = chart("first"), chart("second")
    assert "currentColor" in first
    assert "#123456" not in first
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, known in zip((first, second), ids, strict=True):
        assert set(re.findall(r'xlink:href="#([^"]+)"', svg)) <= known
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= known
    assert "forget &lt;b&gt;" in first
    assert chart("first") == first


def test_the_console_shows_verdicts_and_table_without_markup():
    text = render_text(document())
    assert "Is it forgotten?" in text
    assert "YES." in text
    assert "[bold]" in text
    assert "Before" in text


def test_the_console_leaves_nothing_out_of_a_wide_table():
    columns = [f"a long name of a measure {number}" for number in range(8)]
    rows = [Row("a-run-with-a-rather-long-name", ["0.619 (-1.049 to 2.286)"] * 8)]
    shown = render_text(Document("t", "", [], Table("c", columns, rows, "Run"), overview=[Table("o", ["x"], rows)]))
    assert "…" not in shown
    assert "\no" in shown


def test_an_unknown_verdict_has_no_mark():
    page = render_html(document())
    assert page.count('class="mark"') == 2


def test_the_page_has_a_head_anchors_and_a_box_of_limits():
    page = render_html(document(chart()))
    assert page.index("<dt>Finished</dt><dd>2026-05-04 03:02 UTC</dd>") < page.index('id="is-the-rest-kept"')
    assert page.index('id="is-the-rest-kept"') < page.index("What this does not show") < page.index("Criteria")
    headings = re.findall(r"<h([1-6])", page)
    assert headings[:4] == ["1", "2", "2", "2"]
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert re.search(r'<svg aria-label="[^"]+"', page)
    assert 'content: "Title script alert( x) script bold amp, 2026-05-04 03:02 UTC"' in page


def test_runs_of_a_comparison_are_headings_of_their_questions():
    verdicts = [Verdict("Is it forgotten?", "0.1.", True, subject=name) for name in ("first", "second")]
    page = render_html(Document("Two", "", verdicts, Table("t", ["c"], [Row("r", ["1"])])))
    assert re.findall(r'<(h[23]) id="([^"]+)"', page) == [
        ("h2", "first"),
        ("h3", "is-it-forgotten"),
        ("h2", "second"),
        ("h3", "is-it-forgotten-2"),
    ]


def test_names_neither_command_a_terminal_nor_turn_the_page_round():
    evil = "cat\x1b]0;owned\x07\x1b[2J\u202egpj.exe\u2066[bold]"
    document = Document(
        title=evil,
        subtitle=evil,
        verdicts=[Verdict(evil, evil, True)],
        table=Table(evil, [evil], [Row(evil, [evil], evil)], evil),
        figures=[Figure(f"<svg><text>{evil}</text></svg>", evil)],
        sections=[Section(evil, [evil], [Table(evil, [evil], [Row(evil, [evil])])])],
    )
    for shown in (render_html(document), render_text(document)):
        assert not set(shown) & set("\x1b\x07\u202e\u2066")
        assert "\\u202egpj" in shown
    # What looks like markup of the console is text.
    assert render_text(document).count("[bold]") >= 5
