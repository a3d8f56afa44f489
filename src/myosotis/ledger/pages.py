"""A ledger as pages: the life of a model, and a certificate of one line."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from myosotis.ledger.statements import MAIN, kind_of
from myosotis.ledger.table import QUESTIONS, answers_of, answers_text, what_of
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict

PROVES = (
    "A ledger proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that "
    "no copy exists."
)

_COLOURS = {"learn": "#3b6ea5", "forget": "#c2571a", "audit": "#4f7f4f", "destroy": "#555555", "release": "#8064a2"}
_MOST_DOTS = 60


def life_page(statements: Sequence[Any], signers: Sequence[str], remarks: Sequence[str]) -> Document:
    """Return the life of a model as a page.

    Args:
        statements: Statements of the ledger.
        signers: Who signed each line.
        remarks: What a reader might miss.
    """
    rows = [
        Row(
            f"{number}: {what_of(statement)}",
            [
                str(statement["predicate"]["recordedOn"]),
                str(statement["predicate"]["run"]["name"]),
                str(statement["predicate"]["run"]["method"] or "-"),
                signer,
                answers_text(statement["predicate"].get("verdict")),
            ],
        )
        for number, (statement, signer) in enumerate(zip(statements, signers, strict=True), start=1)
    ]
    columns = ["Recorded", "Run", "Method", "Signed by", "Verdict"]
    ledger = statements[0]["predicate"]["ledger"] if statements else "-"
    return Document(
        title="The life of a model",
        subtitle=f"{len(statements)} lines of the ledger {ledger}.",
        verdicts=[],
        limits=[*remarks, PROVES],
        table=Table("What happened, in order", columns, rows, "Line"),
        figures=[_time_line(statements)] if statements else [],
        sections=[_digests(statements)],
    )


def certificate(statement: Any, number: int, signer: str) -> Document:
    """Return a certificate of one line of a ledger.

    Args:
        statement: The statement.
        number: Number of the line, counted from 1.
        signer: Who signed it.
    """
    predicate = statement["predicate"]
    run, records, request = predicate["run"], predicate.get("records") or {}, predicate.get("request") or {}
    titles = {
        "forget": "Certificate of forgetting",
        "destroy": "Certificate of destruction",
        "audit": "Certificate of an audit",
        "learn": "Certificate of training",
        "release": "Certificate of a release",
    }
    facts = [
        ("Ledger", str(predicate["ledger"])),
        ("Line", str(number)),
        ("Recorded", str(predicate["recordedOn"])),
        ("Signed by", signer),
        ("Responsible", str(run.get("operator") or "-")),
    ]
    facts += [(f"Request, {name.replace('_', ' ')}", _plain(value)) for name, value in request.items() if value]
    if predicate.get("recipient"):
        facts.append(("Given to", str(predicate["recipient"])))
    if records.get("count") is not None:
        facts.append(("Records", str(records["count"])))
    rows = [Row(str(one["name"]), [str(one["digest"]["sha256"])]) for one in statement["subject"]]
    rows += [Row(str(name), [str(digest)]) for name, digest in predicate["evidence"].items() if digest]
    if predicate["parent"] is not None:
        rows.append(
            Row(f"model before, of line {predicate['parent']['sequence'] + 1}", [predicate["parent"]["sha256"]])
        )
    rows += [Row(f"sums and head, {when}", [_joined(both)]) for when, both in predicate.get("statistics", {}).items()]
    if "root" in records:
        rows.append(Row("commitments to the records", [str(records["root"])]))
    how = (
        "Ask the operator for the folder of the ledger, and for the public key by another way. 'myosotis ledger verify "
        "FOLDER --key operator.pub' checks signatures, order and lineage, and with '--model MODEL' that a model is the "
        "one of the newest line. VERIFY.md in the folder says how to do it without this program. The file beside this "
        "page is the signed line itself."
    )
    return Document(
        title=f"{titles[kind_of(statement)]}: {run['name']}",
        subtitle=f"Line {number} of a signed ledger: {what_of(statement)}. Method: {run['method'] or 'none'}.",
        verdicts=[_verdict(name, holds) for name, holds in answers_of(predicate.get("verdict"))],
        facts=facts,
        limits=[PROVES, "What the verdict rests on, and what was not tested, is in the report that is named below."],
        table=Table("What it is about, by SHA-256", ["SHA-256"], rows, "File"),
        sections=[Section("How to check this", [how])],
    )


def _verdict(name: str, holds: bool | None) -> Verdict:
    said = {True: "The operator's run says yes.", False: "The operator's run says no.", None: "The run could not tell."}
    return Verdict(QUESTIONS[name], said[holds], holds, undecided=holds is None)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _joined(digests: Any) -> str:
    return ", ".join(f"{name} {digest}" for name, digest in digests.items()) if isinstance(digests, Mapping) else "-"


def _digests(statements: Sequence[Any]) -> Section:
    rows = []
    for number, statement in enumerate(statements, start=1):
        predicate = statement["predicate"]
        report = predicate["evidence"].get("report.html") or "-"
        count = f"{len(statement['subject'])} files"
        model = count if kind_of(statement) == "destroy" else statement["subject"][0]["digest"]["sha256"]
        branch = "" if predicate["branch"] == MAIN else f"branch {predicate['branch']}"
        rows.append(Row(f"Line {number}", [str(model), str(report)], branch))
    text = "A file is the one of a line if its SHA-256 is here; that of a model is over those of its files."
    return Section("Models and reports by their SHA-256", [text], [Table("Digests", ["Model", "Report"], rows, "Line")])


def _time_line(statements: Sequence[Any]) -> Figure:
    """A dot for each line on one straight line; of many lines the newest."""
    shown = list(enumerate(statements, start=1))[-_MOST_DOTS:]
    width, step = 900, 840 / max(1, len(shown) - 1)
    dots = []
    for index, (number, statement) in enumerate(shown):
        x, kind = 30 + index * step, kind_of(statement)
        name = escape(f"{number}: {what_of(statement)}, {statement['predicate']['run']['name']}")
        dots.append(
            f'<circle cx="{x:.1f}" cy="30" r="8" fill="{_COLOURS[kind]}"><title>{name}</title></circle>'
            f'<text x="{x:.1f}" y="58" font-size="12" text-anchor="middle" fill="currentColor">{number}</text>'
        )
    keys = [
        f'<circle cx="{30 + 120 * index}" cy="85" r="6" fill="{colour}"/>'
        f'<text x="{42 + 120 * index}" y="89" font-size="13" fill="currentColor">{kind}</text>'
        for index, (kind, colour) in enumerate(_COLOURS.items())
    ]
    svg = (
        f'<svg viewBox="0 0 {width} 100" role="img" xmlns="http://www.w3.org/2000/svg">'
        f'<line x1="30" x2="870" y1="30" y2="30" stroke="currentColor" stroke-width="1"/>{"".join(dots)}{"".join(keys)}'
        "</svg>"
    )
    first = "" if len(shown) == len(statements) else f" The newest {len(shown)} lines are drawn."
    return Figure(svg, f"The life of the model, a dot for each line.{first}", wide=True)
