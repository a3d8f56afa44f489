"""A ledger as pages: the life of a model, and a certificate of one line."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from myosotis.ledger.figures import figures_of, number_text
from myosotis.ledger.limits import PROVES
from myosotis.ledger.statements import MAIN, Predicate, Statement
from myosotis.ledger.table import QUESTIONS, answers_of, answers_text, what_of
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import COLOURS
from myosotis.report.sections import moment_text

_COLOURS = {
    "learn": COLOURS["retain"],
    "forget": COLOURS["forget"],
    "audit": COLOURS["unseen"],
    "destroy": COLOURS["neutral"],
    "release": COLOURS["general"],
}
_MAX_DOTS = 60
_ROW = 30
_MAX_ROWS = 8
_FIGURES = ("Value", "Interval", "Compared with")


def life_page(statements: Sequence[Statement], signers: Sequence[str], remarks: Sequence[str]) -> Document:
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
                _moment(statement.predicate.recorded_on),
                str(statement.predicate.run.name),
                str(statement.predicate.run.method or "-"),
                signer,
                answers_text(statement.predicate.verdict),
            ],
        )
        for number, (statement, signer) in enumerate(zip(statements, signers, strict=True), start=1)
    ]
    columns = ["Recorded", "Run", "Method", "Signed by", "Verdict"]
    ledger = statements[0].predicate.ledger if statements else "-"
    return Document(
        title="The life of a model",
        subtitle=f"{len(statements)} lines of the ledger {ledger}.",
        verdicts=[],
        limits=[*remarks, PROVES],
        table=Table("What happened, in order", columns, rows, "Line", words=True),
        figures=[_time_line(statements)] if statements else [],
        sections=[_digests(statements)],
    )


def certificate(statement: Statement, number: int, signer: str) -> Document:
    """Return a certificate of one line of a ledger.

    Args:
        statement: The statement.
        number: Number of the line, counted from 1.
        signer: Who signed it.
    """
    said, run, records = statement.predicate, statement.predicate.run, statement.predicate.records
    titles = {
        "forget": "Certificate of forgetting",
        "destroy": "Certificate of destruction",
        "audit": "Certificate of an audit",
        "learn": "Certificate of training",
        "release": "Certificate of a release",
    }
    facts = [("Ledger", said.ledger), ("Line", str(number)), ("Recorded", said.recorded_on), ("Signed by", signer)]
    if run.operator:
        facts.append(("Responsible", run.operator))
    facts += [
        (f"Request, {name.replace('_', ' ')}", _plain(value)) for name, value in (said.request or {}).items() if value
    ]
    if said.recipient:
        facts.append(("Given to", said.recipient))
    if statement.count is not None:
        facts.append(("Files" if statement.kind == "destroy" else "Records", str(statement.count)))
    if said.models:
        facts.append(("Models of lines", ", ".join(str(sequence + 1) for sequence in said.models)))
    if records.learned:
        facts.append(("Had been learned", f"{sum(one.count for one in records.learned)} of them"))
    figures = [
        Row(
            figure.measure,
            [
                number_text(figure.value),
                _range(figure.low, figure.high),
                "-" if figure.reference is None else number_text(figure.reference),
            ],
        )
        for figure in figures_of(said.verdict)
    ]
    subjects = () if statement.names_destroyed else statement.subject  # those lines name what is to be forgotten
    rows = [Row(one.name, [one.digest.sha256]) for one in subjects]
    rows += [Row(name, [digest]) for name, digest in said.evidence.items() if digest]
    if said.parent is not None:
        rows.append(Row(f"model before, of line {said.parent.sequence + 1}", [said.parent.sha256]))
    rows += [Row(f"sums and head, {when}, keyed", [_joined(both)]) for when, both in (said.statistics or {}).items()]
    if records.root is not None and statement.kind != "destroy":
        rows.append(Row("commitments to the records", [records.root]))
    rows += [Row("commitments of an earlier line, to what was learned", [one.root]) for one in records.learned]
    how = (
        "Ask the operator for the folder of the ledger, and for its public keys by another way. 'myosotis ledger "
        "verify FOLDER --key operator.pub', with '--auditor' for the key of an auditor, checks signatures, order and "
        "lineage, and with '--model MODEL' that a model is the one of the newest line. VERIFY.md in the folder says "
        "how to do it without this program. The file next to this page is the signed line itself."
    )
    table = Table("Figures of the verdict, with their intervals", _FIGURES, figures, "Figure")
    return Document(
        title=f"{titles[statement.kind]}: {run.name}",
        subtitle=f"Line {number} of a signed ledger: {what_of(statement)}. Method: {run.method or 'none'}.",
        verdicts=[_verdict(name, holds) for name, holds in answers_of(said.verdict)],
        facts=facts,
        limits=[PROVES, *_reported(said)],
        overview=[table] if figures else [],
        table=Table("What it is about, by SHA-256", ["SHA-256"], rows, "File", words=True),
        sections=[Section("How to check this", [how])],
    )


def _reported(predicate: Predicate) -> list[str]:
    """What the report of the run adds, where the line names one."""
    if "report.html" not in predicate.evidence or not predicate.verdict:
        return []
    return ["What the verdict rests on, and what was not tested, is in the report that is named below."]


def _moment(recorded: Any) -> str:
    """A time for people; as it is where it is none."""
    try:
        return moment_text(str(recorded))
    except ValueError:
        return str(recorded)


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{number_text(low)} to {number_text(high)}"


def _verdict(name: str, holds: bool | None) -> Verdict:
    said = {True: "The operator's run says yes.", False: "The operator's run says no.", None: "The run could not tell."}
    return Verdict(QUESTIONS[name], said[holds], holds, undecided=holds is None)


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _joined(digests: Any) -> str:
    return ", ".join(f"{name} {digest}" for name, digest in digests.items()) if isinstance(digests, Mapping) else "-"


def _digests(statements: Sequence[Statement]) -> Section:
    rows = []
    for number, statement in enumerate(statements, start=1):
        predicate = statement.predicate
        report = predicate.evidence.get("report.html") or "-"
        count = f"{statement.count} files" if statement.kind == "destroy" else ""
        model = count or statement.digest
        branch = "" if predicate.branch == MAIN else f"branch {predicate.branch}"
        rows.append(Row(f"Line {number}", [str(model), str(report)], branch))
    text = "A file is the one of a line if its SHA-256 is here; that of a model is over those of its files."
    return Section(
        "Models and reports by their SHA-256", [text], [Table("Digests", ["Model", "Report"], rows, "Line", words=True)]
    )


def _time_line(statements: Sequence[Statement]) -> Figure:
    """A dot for each line, in a row for each branch, tied to the line whose model it began with.

    Of many lines the newest, and as many numbers as there is room for; of many branches the last share a row.
    """
    shown = list(enumerate(statements, start=1))[-_MAX_DOTS:]
    branches = list(dict.fromkeys(statement.predicate.branch for _, statement in shown))
    step = 540 / max(1, len(shown) - 1)
    radius, labelled = min(8.0, 0.45 * step), math.ceil(30 / step)
    height = 25 + _ROW * min(len(branches) - 1, _MAX_ROWS - 1)

    def place(number: int) -> tuple[float, int]:
        branch = statements[number - 1].predicate.branch
        row = branches.index(branch) if branch in branches else 0
        return max(4.0, 30 + (number - shown[0][0]) * step), 25 + _ROW * min(row, _MAX_ROWS - 1)

    ties, dots = [], []
    for index, (number, statement) in enumerate(shown):
        (x, y), parent = place(number), statement.predicate.parent
        if parent is not None:
            begun_x, begun_y = place(parent.sequence + 1)
            ties.append(f'<path d="M{begun_x:.1f} {begun_y}L{x:.1f} {y}" stroke="currentColor"/>')
        branch = "" if statement.predicate.branch == MAIN else f", on branch {statement.predicate.branch}"
        name = escape(f"{number}: {what_of(statement)}, {statement.predicate.run.name}{branch}")
        dots.append(
            f'<circle cx="{x:.1f}" cy="{y}" r="{radius:.1f}" fill="{_COLOURS[statement.kind]}"><title>{name}</title>'
            "</circle>"
        )
        if index % labelled == 0:
            dots.append(
                f'<text x="{x:.1f}" y="{height + 27}" font-size="14" text-anchor="middle" fill="currentColor">{number}'
                "</text>"
            )
    keys = [
        f'<circle cx="{30 + 115 * index}" cy="{height + 55}" r="6" fill="{colour}"/>'
        f'<text x="{42 + 115 * index}" y="{height + 60}" font-size="14" fill="currentColor">{kind}</text>'
        for index, (kind, colour) in enumerate(_COLOURS.items())
    ]
    svg = (
        f'<svg viewBox="0 0 600 {height + 70}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(ties)}{''.join(dots)}{''.join(keys)}</svg>"
    )
    first = "" if len(shown) == len(statements) else f" The newest {len(shown)} lines are drawn."
    rows = "" if len(branches) == 1 else " A row is a branch."
    tied = "The life of the model, a dot for each line, tied to the line whose model it began with or is about."
    return Figure(svg, f"{tied}{rows}{first}", wide=True)
