"""The lines of a ledger as a table that people read."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from myosotis.ledger.store import MAIN, kind_of

_COLUMNS = ("line", "recorded", "what", "run", "method", "model", "says")


def log_table(statements: Iterable[Any]) -> Iterator[str]:
    """Yield a heading and a line for each statement."""
    rows = [_COLUMNS, *(_row(statement) for statement in statements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def remarks(statements: Iterable[Any]) -> Iterator[str]:
    """Yield what a reader might miss: models from outside, and requests after which nothing was destroyed."""
    told = list(statements)
    destroyed = [number for number, statement in enumerate(told) if kind_of(statement) == "destroy"]
    for number, statement in enumerate(told):
        kind = kind_of(statement)
        if kind != "destroy" and statement["predicate"]["parent"] is None and number:
            yield f"line {number + 1}: its model began outside this ledger"
        if kind == "forget" and not any(later > number for later in destroyed):
            yield f"line {number + 1}: no line since says that copies, checkpoints or the model before were destroyed"


def _row(statement: Any) -> tuple[str, ...]:
    predicate = statement["predicate"]
    kind, run = kind_of(statement), predicate["run"]
    branch = "" if predicate["branch"] == MAIN else f" ({predicate['branch']})"
    count = (predicate.get("records") or {}).get("count")
    what = f"{kind} {count}" if count is not None else kind
    return (
        str(predicate["sequence"] + 1),
        str(predicate["recordedOn"]),
        f"{what}{branch}",
        str(run["name"]),
        str(run["method"] or "-"),
        str(statement["subject"][0]["digest"]["sha256"])[:12],
        _says(predicate.get("verdict")),
    )


def _says(verdict: Mapping[str, Any] | None) -> str:
    """The answers of a verdict that are plain: yes, no, or not known."""
    words = {True: "yes", False: "no", None: "unknown"}
    answers = {
        name: words[value] for name, value in (verdict or {}).items() if value is None or isinstance(value, bool)
    }
    return ", ".join(f"{name.replace('_', ' ')}: {answer}" for name, answer in answers.items()) or "-"
