"""Pages and model cards with hostile names: nothing runs, nothing is asked for, and no element is made of a name."""

import collections
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from myosotis.engine.result import Result
from myosotis.evaluation.comparison import ForgettingVerdict
from myosotis.ledger.pages import certificate, life_page
from myosotis.ledger.statements import STATEMENT, VERSION, Statement
from myosotis.report import Document, Figure, Row, Section, Table, Verdict, render_html, render_text
from myosotis.report.card import model_card
from myosotis.report.figures import (
    Line,
    Point,
    dot_chart,
    heat_map,
    histogram,
    image_sheet,
    line_chart,
    picture,
    scatter_panels,
)
from myosotis.report.person import Answer, person_page
from myosotis.report.pictures import encoded_png
from myosotis.report.render import page, running_title

RUN = "window.pwned=1"
ASK = "http://evil.invalid/x"

PAYLOADS = (
    # Elements
    f"<script>{RUN}</script>",
    f"<ScRiPt >{RUN}</sCrIpT >",
    f"<script src={ASK}></script>",
    f"<<script>{RUN}//<</script>",
    f"<img src=x onerror={RUN}>",
    f"<img/src={ASK}/onload={RUN}>",
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s>",
    f"<svg><image href={ASK}></svg>",
    f"<math><mtext></form><mglyph><style></math><img src onerror={RUN}>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<iframe src=javascript:parent.{RUN}></iframe>",
    f"<object data={ASK}></object><embed src={ASK}>",
    f"<video><source onerror={RUN}></video><audio src={ASK}>",
    f"<link rel=stylesheet href={ASK}><base href={ASK}>",
    f"<meta http-equiv=refresh content='0;url={ASK}'>",
    f"<body onload={RUN}><details open ontoggle={RUN}>",
    f"<input autofocus onfocus={RUN}><select autofocus onfocus={RUN}>",
    f"<form action={ASK}><button formaction=javascript:{RUN}>x</button></form>",
    f"<style>@import '{ASK}';</style>",
    f"<p style='background:url({ASK})'>x</p>",
    f"<a href='javascript:{RUN}'>x</a>",
    f"<a href='data:text/html,<script>{RUN}</script>'>x</a>",
    "<plaintext>",
    "<template><noscript><xmp><textarea>",
    # Out of whatever they stand in
    f"</title><script>{RUN}</script>",
    f"</style><script>{RUN}</script>",
    f"</text></svg><script>{RUN}</script>",
    f"]]><script>{RUN}</script>",
    f"--><script>{RUN}</script><!--",
    f'" onmouseover="{RUN}" autofocus onfocus="{RUN}',
    f"' onmouseover='{RUN}' autofocus onfocus='{RUN}",
    f"` onmouseover={RUN} x=`",
    f'"; }} * {{ background: url("{ASK}"); }} @import "{ASK}"; /*',
    f"\\22 ; }} body {{ background: url({ASK})",
    # Entities and encodings
    f"&lt;script&gt;{RUN}&lt;/script&gt;",
    f"&#60;img src=x onerror={RUN}&#62;",
    f"\uff1cscript\uff1e{RUN}\uff1c/script\uff1e",
    f"+ADw-script+AD4-{RUN}+ADw-/script+AD4-",
    f"<scr\x00ipt>{RUN}</scr\x00ipt>",
    f"<img\x0csrc=x\x0conerror={RUN}>",
    # Templates and formulas
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "${7*7}#{7*7}<%= 7*7 %>$$\\href{javascript:window.pwned=1}{x}$$",
    # What only looks otherwise, or commands a terminal
    "cat\u202egpj.exe\u2066\u2069\u200f",
    "cat\x1b[2J\x1b]8;;http://evil.invalid/x\x07link\x1b]8;;\x07\x9b31m\x08\x7f",
    "a\r\nb\n\n# heading\n\n---\n",
    # Markdown
    f"![x]({ASK}) [x](javascript:{RUN}) <{ASK}> {ASK} www.evil.invalid me@evil.invalid",
    f"[x]: {ASK}\n[x] ![x]\n| a | b |\n|---|---|\n```\n<img src=x onerror={RUN}>",
    # Length
    "W" * 20000,
    f"<img src=x onerror={RUN}>" * 500,
)

HARMLESS = "a name"
YES = ForgettingVerdict(known=True, forgotten=True, kept=True, sure=True, keeping=[], confidence=0.95)
NAMES = dict(enumerate(PAYLOADS))
COMMANDS = set("\x00\x07\x08\x1b\x7f\x9b\u202e\u2066\u2069")


class Elements(HTMLParser):
    """Names of elements and of their attributes, and what attributes link to."""

    def __init__(self):
        super().__init__()
        self.tags, self.links = collections.Counter(), []

    def handle_starttag(self, tag, attrs):
        self.tags[tag, tuple(sorted({name for name, _ in attrs} - {"class"}))] += 1
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "style")]


def elements(page):
    parser = Elements()
    parser.feed(page)
    parser.close()
    return parser


def figures(name):
    lines = [Line(name, [0, 1, 2], [1.0, 0.5, 0.2], "forget"), Line(f"{name} 2", [0, 1], [1, 1], "retain")]
    pixels = encoded_png(np.zeros((4, 4), np.uint8))
    points = [Point(f"{name} {place}", place / 2, place / 3, place) for place in range(2)]
    return [
        line_chart(lines, x_label=name, y_label=name, levels={name: (0.3, "unseen")}, name="lines"),
        dot_chart({name: points}, x_label=name, name="dots"),
        heat_map([[0.5, 1.0]], [name], [name, f"{name} 2"], x_label=name, y_label=name, name="map"),
        image_sheet([pixels], [name], legend=[("#fff", name)]),
        scatter_panels({name: [(0.1, 0.2)], f"{name} 2": [(0.3, 0.2)]}, [0], [name], name="panels"),
        histogram([1.0, 2.0], x_label=name, y_label=name, name="counts"),
        picture(pixels, 4, 4),
    ]


def document(name, drawn=()):
    table = Table(name, [name, name], [Row(name, [name, f"0.5 [0.4, 0.6] {name}"], name)] * 2, name)
    return Document(
        title=name,
        subtitle=name,
        verdicts=[Verdict(name, name, True), Verdict(name, name, undecided=True)],
        table=table,
        facts=[("Operator", name), ("Model", name), ("Method", name), ("Finished", f"2026-05-04 03:02 UTC {name}")],
        limits=[name],
        overview=[table],
        figures=[Figure(svg, name) for svg in drawn],
        sections=[Section(name, [name], [table])],
    )


def result(name):
    return Result.model_construct(
        finished=datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC),
        operator=name,
        request={"id": name, "received": name, "deadline": name, "untreated": [name, name]},
    )


def statement(name):
    """A line of a ledger with every figure, where every text that an operator chooses is a name."""
    figure = {"name": name, "value": 0.9, "low": 0.8, "high": 0.95, "threshold": 0.85}
    digest = "0" * 64
    content = {
        "_type": STATEMENT,
        "subject": [{"name": "model", "digest": {"sha256": digest}}],
        "predicateType": f"urn:myosotis:ledger:forget:{VERSION}",
        "predicate": {
            "ledger": "0" * 32,
            "sequence": 1,
            "previous": digest,
            "recordedOn": "2026-05-04T03:02:01Z",
            "branch": name,
            "recipient": name,
            "weights": {"in": name, "out": [name]},
            "files": {},
            "run": dict.fromkeys(("name", "method", "operator", "kind"), name),
            "records": {"count": 3, "root": digest, "commitments": 3, "learned": [{"count": 2, "root": digest}]},
            "request": {"id": name, "received": name, "deadline": name},
            "verdict": {"forgotten": True, "kept": True, "kept_criteria": [figure], name: 0.5},
            "evidence": {name: digest, "result.json": digest, "report.html": digest},
            "parent": {"sequence": 0, "sha256": digest},
            "statistics": {name: {name: digest}},
        },
    }
    return Statement.model_validate(content)


def pages(name, drawn=()):
    """Every template of the package, filled with a name."""
    several = [Verdict(name, name, True, subject=f"{name} {number}") for number in range(2)]
    content = dict.fromkeys(("title", "scope", "proves", "check", "command", "source"), name)
    lists = {
        "done": [name],
        "open_points": [name],
        "answers": [Answer(name, name, "yes")],
        "facts": [(name, name)],
    }
    return {
        "report": render_html(document(name, drawn)),
        "comparison": render_html(Document(name, name, several, Table(name, [name], [Row(name, [name])]))),
        "life": render_html(life_page([statement(name)] * 2, [name] * 2, [name])),
        "certificate": render_html(certificate(statement(name), 1, name)),
        "person": person_page(result(name), YES, noun=name, count=3, noticeable=True),
        "half page": page("half_page.html.j2", running=running_title(name, []), **content, **lists),
    }


@pytest.fixture(scope="module")
def harmless():
    return pages(HARMLESS)


def card(name):
    result = {"kind": "unlearn-classifier", "name": name, "method": "neggrad"}
    return model_card(document(name), result, {"model": {"name": name}})


OF_DRAWINGS = ("g", "path", "use", "text", "tspan", "rect", "defs", "clippath", "line", "circle", "style")
"""How many there are depends on the length of names."""

LINK = re.compile(
    r"#[\w-]+|data:image/png;base64,[\w+/=]+"
    r"|[\w-]+:[^(]*(\((#[\w-]+|[-\d. ,]+)\)[^(]*)*"  # a style: of parentheses there are only those of numbers and marks
)


def styles(text):
    """The style sheets of a page, without the line at the foot of paper, which is a string of few kinds of letters."""
    sheets = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    return re.sub(r'content: "[\w .,:()-]*"', "", sheets[0])


@pytest.mark.parametrize("number", NAMES)
def test_no_element_is_made_of_a_name(number, harmless):
    check_elements(pages(NAMES[number]), harmless)


@pytest.mark.slow
@pytest.mark.parametrize("number", NAMES)
def test_no_element_of_a_drawing_is_made_of_a_name(number):
    check_elements(pages(NAMES[number], figures(NAMES[number])), pages(HARMLESS, figures(HARMLESS)))


def check_elements(made_pages, harmless):
    for kind, text in made_pages.items():
        made, expected = elements(text), elements(harmless[kind])
        assert {tag for tag, _ in made.tags} == {tag for tag, _ in expected.tags}, kind
        for tag, attributes in made.tags.keys() | expected.tags.keys():
            if tag not in OF_DRAWINGS:
                assert made.tags[tag, attributes] == expected.tags[tag, attributes], (kind, tag, attributes)
            assert not any(attribute.startswith("on") for attribute in attributes), kind
        assert [link for link in made.links if not LINK.fullmatch(link)] == [], kind
        assert not set(text) & COMMANDS, kind
        assert styles(text) == styles(harmless[kind]), kind


@pytest.mark.parametrize("number", NAMES)
def test_no_element_of_a_card_is_made_of_a_name(number):
    """What a forge shows of the Markdown: no link, no picture, no heading, no table that the package did not write."""
    shown, expected = (
        elements(MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(text))
        for text in (card(NAMES[number]).partition("-->")[2], card(HARMLESS).partition("-->")[2])
    )
    assert shown.tags == expected.tags
    assert shown.links == []
    head = yaml.safe_load(card(NAMES[number]).split("\n---\n")[0].removeprefix("---\n"))
    assert set(head) == {"library_name", "tags"}
    assert not set(card(NAMES[number])) & COMMANDS


@pytest.mark.parametrize("number", NAMES)
def test_no_name_commands_a_terminal(number):
    assert not set(render_text(document(NAMES[number]))) & (COMMANDS | {"\r"})


COUNTS = """
Object.fromEntries([...document.querySelectorAll('*')].reduce(
  (counts, each) => counts.set(each.localName, (counts.get(each.localName) || 0) + 1), new Map()))
"""


def shown(tab, path, requests, dialogs):
    """Open a page, touch whatever reacts to touching, and return how many elements of each name it has."""
    requests.clear()
    tab.goto(path.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    tab.evaluate(
        "document.querySelectorAll('*').forEach(each => ['mouseover', 'focus', 'click'].forEach("
        "kind => each.dispatchEvent(new Event(kind))))"
    )
    assert tab.evaluate("typeof window.pwned") == "undefined"
    assert dialogs == []
    assert requests == [path.as_uri()]
    assert not {"javascript:", "data:text/html"} & set(tab.evaluate("[...document.links].map(each => each.protocol)"))
    return tab.evaluate(COUNTS)


@pytest.mark.slow
def test_in_a_browser_no_name_runs_or_asks_for_anything(browser, tmp_path):
    tab, requests, dialogs = browser.new_page(), [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))

    def counts(name):
        found = {}
        for kind, text in pages(name).items():
            path = tmp_path / f"{kind}.html"
            path.write_text(text, encoding="utf-8")
            elements_there = shown(tab, path, requests, dialogs)
            found[kind] = {tag: count for tag, count in elements_there.items() if tag.lower() not in OF_DRAWINGS}
        return found

    expected = counts(HARMLESS)
    for number, name in NAMES.items():
        assert counts(name) == expected, number
    # The test sees what runs and what is asked for.
    for fault in (f"<script>{RUN}</script>", f"<img src={ASK}>"):
        path = tmp_path / "bad.html"
        path.write_text(f"<!doctype html><p>x{fault}", encoding="utf-8")
        with pytest.raises(AssertionError):
            shown(tab, path, requests, dialogs)
