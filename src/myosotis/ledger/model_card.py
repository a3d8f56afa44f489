"""A model of a ledger as a model card in the format of Hugging Face, each figure beside the line that it is of."""

from collections.abc import Iterable, Sequence

import yaml

from myosotis.engine.printable import printable
from myosotis.ledger.figures import VerdictFigure, figures_of, number_text
from myosotis.ledger.limits import limits_of
from myosotis.ledger.recorded import RecordedModel
from myosotis.ledger.statements import Statement
from myosotis.ledger.table import QUESTIONS, answers_of, what_of, word_of
from myosotis.report.markdown import markdown_text


def model_card(model: RecordedModel) -> str:
    """Return the card: what the model is, answers, figures with intervals, what happened before, limits.

    A deletion request is not part of it, and the licence is not known.

    Args:
        model: The model.
    """
    line, run = model.line, model.line.predicate.run
    tags = ["myosotis", str(run.kind), *([str(run.method)] if run.method else [])]
    head = {"library_name": "myosotis", "tags": [" ".join(printable(tag).split()) for tag in tags]}
    facts = {
        "Ledger": model.head.ledger,
        "Line": line.line,
        "Branch": model.branch,
        "Recorded": line.predicate.recorded_on,
        "Method": run.method or "none",
        "Responsible": run.operator or "not named",
        "SHA-256 over the SHA-256 of its files": line.digest,
    }
    lines = [
        "---",
        yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(),
        "---",
        "",
        f"# {markdown_text(run.name)}",
        "",
        "The model of a line in a signed ledger. Every answer and figure below is copied from the ledger.",
        "",
        *(f"- {name}: {markdown_text(str(value))}" for name, value in facts.items()),
        "",
    ]
    lines += _answers(model) + _figures(model)
    happened = sorted([line, *model.before, *model.about], key=lambda one: one.line)
    lines += [
        "## What happened to it",
        "",
        *_table(
            ("Line", "Recorded", "What", "Run", "Method"),
            [(str(one.line), one.predicate.recorded_on, what_of(one), *_run_of(one)) for one in happened],
        ),
        "",
        "## Limits",
        "",
        *(f"- {markdown_text(limit)}" for limit in limits_of(model)),
        "",
        "## How to check",
        "",
        "With the folder of the ledger, and its public keys by another way, those of auditors with `--auditor`:",
        "",
        "```",
        "myosotis ledger verify LEDGER --key operator.pub --model MODEL",
        "```",
        "",
    ]
    return "\n".join(lines)


def _answers(model: RecordedModel) -> list[str]:
    rows = [
        (str(statement.line), QUESTIONS[name], word_of(holds))
        for statement in (model.line, *model.about)
        for name, holds in answers_of(statement.predicate.verdict)
    ]
    return ["## Answers", "", *_table(("Line", "Question", "Answer"), rows), ""] if rows else []


def _figures(model: RecordedModel) -> list[str]:
    rows = [
        (str(statement.line), figure.measure, number_text(figure.value), _interval(figure), _reference(figure))
        for statement in (model.line, *model.about)
        for figure in figures_of(statement.predicate.verdict)
    ]
    columns = ("Line", "Figure", "Value", "Interval", "Compared with")
    return ["## Figures", "", *_table(columns, rows), ""] if rows else []


def _interval(figure: VerdictFigure) -> str:
    if figure.low is None or figure.high is None:
        return "none"
    return f"{number_text(figure.low)} to {number_text(figure.high)}"


def _reference(figure: VerdictFigure) -> str:
    return "none" if figure.reference is None else number_text(figure.reference)


def _run_of(statement: Statement) -> tuple[str, str]:
    run = statement.predicate.run
    return run.name, run.method or "none"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [columns, ["---"] * len(columns), *([markdown_text(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]
