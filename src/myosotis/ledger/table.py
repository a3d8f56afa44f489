"""The lines of a ledger as a table that people read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from myosotis.engine.printable import printable
from myosotis.ledger.lineage import Lineage
from myosotis.ledger.statements import MAIN, Statement

QUESTIONS = {
    "learnt": "Has it learnt?",
    "apart": "Are others left alone?",
    "known": "Did the model know the records?",
    "forgotten": "Are they forgotten?",
    "kept": "Is the rest kept?",
    "works": "Does the model still work?",
    "as_unseen": "Is it as if they had never been seen?",
    "sure": "Is the answer sure?",
    "model_matches": "Is it the model that was reported?",
    "data_matches": "Are the records those of the run?",
    "reproduced": "Are the figures reproduced?",
    "equal": "Are sums and head those of the records that are left?",
}
"""What verdicts answer, by their keys in ``result.json`` and ``audit.json``."""

_COLUMNS = ("line", "recorded", "what", "run", "method", "model", "by", "says")


def log_table(statements: Sequence[Statement], signers: Sequence[str]) -> Iterator[str]:
    """Yield a heading and a line for each statement.

    Args:
        statements: Statements of a ledger.
        signers: Who signed each.
    """
    rows = [_COLUMNS, *map(_row, statements, signers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def remarks(statements: Sequence[Statement]) -> Iterator[str]:
    """Yield what a reader might miss.

    These are lines that name destroyed files, models from outside, requests after which nothing was destroyed, and
    models that others were given before records were forgotten.
    """
    forgotten_since = _forgotten_since(statements)
    destroyed = [one.line for one in statements if one.kind == "destroy"]
    for one in statements:
        parent = one.predicate.parent
        if one.names_destroyed:
            yield (
                f"line {one.line}: an earlier version wrote names and plain digests of destroyed files, by which "
                "anybody can test what was among them; see 'What was destroyed' in the guide of the ledger"
            )
        if one.kind != "destroy" and parent is None and one.line > 1:
            yield f"line {one.line}: its model began outside this ledger"
        if one.kind == "forget" and not any(later > one.line for later in destroyed):
            yield f"line {one.line}: no line since says that copies, checkpoints or the model before were destroyed"
        if one.kind == "release" and parent is not None and (later := forgotten_since[parent.sequence]):
            more = f" and {len(later) - 1} more" if len(later) > 1 else ""
            yield (
                f"line {one.line}: the model that others were given is from before the forgetting of line "
                f"{min(later)}{more}; they must hear of it"
            )


def _forgotten_since(statements: Sequence[Statement]) -> dict[int, list[int]]:
    """Lines that forgot something on the way from the model of each line that was released, by its sequence."""
    lines = Lineage()
    released = {one.predicate.parent.sequence for one in statements if one.kind == "release" and one.predicate.parent}
    since: dict[int, list[int]] = {sequence: [] for sequence in released}
    for one in statements:
        parent = one.predicate.parent
        lines.add(None if parent is None else parent.sequence)
        if one.kind == "forget":
            sequence = one.predicate.sequence
            for other in released:
                if other < sequence and lines.follows(sequence, other):
                    since[other].append(one.line)
    return since


def what_of(statement: Statement) -> str:
    """Return what happened in a line: its kind, the number of records or files, and its branch."""
    branch = "" if statement.predicate.branch == MAIN else f" ({statement.predicate.branch})"
    return f"{statement.kind}{'' if statement.count is None else f' {statement.count}'}{branch}"


def answers_of(verdict: Mapping[str, Any] | None) -> list[tuple[str, bool | None]]:
    """Return the answers of a verdict, each yes, no, or not known, in the order in which they are asked."""
    answers = verdict or {}
    return [(name, answers[name]) for name in QUESTIONS if isinstance(answers.get(name, ""), bool | None)]


def answers_text(verdict: Mapping[str, Any] | None) -> str:
    """Return the answers of a verdict on one line; a dash where there is none."""
    return ", ".join(f"{name.replace('_', ' ')}: {word_of(value)}" for name, value in answers_of(verdict)) or "-"


def word_of(holds: bool | None) -> str:
    """Return an answer as a word."""
    return {True: "yes", False: "no", None: "unknown"}[holds]


def _row(statement: Statement, signer: str) -> tuple[str, ...]:
    said = statement.predicate
    row = (
        str(statement.line),
        said.recorded_on,
        what_of(statement),
        said.run.name,
        said.run.method or "-",
        "-" if statement.kind == "destroy" else statement.digest[:12],
        signer,
        answers_text(said.verdict),
    )
    return tuple(" ".join(printable(cell).split()) for cell in row)
