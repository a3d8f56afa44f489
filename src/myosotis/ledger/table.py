"""The lines of a ledger as a table that people read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from myosotis.ledger.statements import MAIN, destroyed_files, kind_of, leaves_model, names_destroyed

QUESTIONS = {
    "learnt": "Has it learnt?",
    "known": "Did the model know the records?",
    "forgotten": "Are they forgotten?",
    "kept": "Is the rest kept?",
    "as_unseen": "Is it as if they had never been seen?",
    "sure": "Is the answer sure?",
    "model_matches": "Is it the model that was reported?",
    "data_matches": "Are the records those of the run?",
    "reproduced": "Are the figures reproduced?",
    "equal": "Are sums and head those of the records that are left?",
}
"""What verdicts answer, by their keys in ``result.json`` and ``audit.json``."""

_COLUMNS = ("line", "recorded", "what", "run", "method", "model", "says")


def log_table(statements: Iterable[Any]) -> Iterator[str]:
    """Yield a heading and a line for each statement."""
    rows = [_COLUMNS, *(_row(statement) for statement in statements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def remarks(statements: Sequence[Any]) -> Iterator[str]:
    """Yield what a reader might miss.

    These are models from outside, requests after which nothing was destroyed, and models that others were given before
    records were forgotten.
    """
    yield from naming_remarks(statements)
    forgotten_since = _forgotten_since(statements)
    destroyed = [number for number, statement in enumerate(statements) if kind_of(statement) == "destroy"]
    for number, statement in enumerate(statements):
        kind = kind_of(statement)
        if kind != "destroy" and statement["predicate"]["parent"] is None and number:
            yield f"line {number + 1}: its model began outside this ledger"
        if kind == "forget" and not any(later > number for later in destroyed):
            yield f"line {number + 1}: no line since says that copies, checkpoints or the model before were destroyed"
        if kind == "release" and (later := forgotten_since[statement["predicate"]["parent"]["sequence"]]):
            more = f" and {len(later) - 1} more" if len(later) > 1 else ""
            yield (
                f"line {number + 1}: the model that others were given is from before the forgetting of line "
                f"{min(later) + 1}{more}; they must hear of it"
            )


def naming_remarks(statements: Sequence[Any]) -> Iterator[str]:
    """Yield the lines by which anybody can test which files were destroyed."""
    for number, statement in enumerate(statements, start=1):
        if names_destroyed(statement):
            yield (
                f"line {number}: an earlier version wrote names and plain digests of destroyed files, by which anybody "
                "can test what was among them; see 'What was destroyed' in the guide of the ledger"
            )


def _forgotten_since(statements: Sequence[Any]) -> dict[int, list[int]]:
    """Sequences of the lines that forgot something on the way from the model of each line that was released."""
    released = {
        statement["predicate"]["parent"]["sequence"]: list[int]()
        for statement in statements
        if kind_of(statement) == "release"
    }
    on_the_way: dict[int, frozenset[int]] = {}
    for number, statement in enumerate(statements):
        if not released or not leaves_model(statement):
            continue
        parent = statement["predicate"]["parent"]
        above = on_the_way.get(parent["sequence"], frozenset()) if parent is not None else frozenset[int]()
        if kind_of(statement) == "forget":
            for ancestor in above:
                released[ancestor].append(number)
        on_the_way[number] = above | {number} if number in released else above
    return released


def what_of(statement: Any) -> str:
    """Return what happened in a line: its kind, the number of records or files, and its branch."""
    predicate, kind = statement["predicate"], kind_of(statement)
    branch = "" if predicate["branch"] == MAIN else f" ({predicate['branch']})"
    count = destroyed_files(statement) if kind == "destroy" else (predicate.get("records") or {}).get("count")
    return f"{kind}{'' if count is None else f' {count}'}{branch}"


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


def _row(statement: Any) -> tuple[str, ...]:
    predicate = statement["predicate"]
    run, model = predicate["run"], statement["subject"][0]["digest"]["sha256"]
    return (
        str(predicate["sequence"] + 1),
        str(predicate["recordedOn"]),
        what_of(statement),
        str(run["name"]),
        str(run["method"] or "-"),
        "-" if kind_of(statement) == "destroy" else str(model)[:12],
        answers_text(predicate.get("verdict")),
    )
