"""A model of a ledger, with everything that the ledger says about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from myosotis.engine.errors import InputError
from myosotis.ledger.heads import Head
from myosotis.ledger.statements import MAIN, Statement
from myosotis.ledger.store import Ledger
from myosotis.ledger.table import remarks
from myosotis.ledger.verification import Trusted, verify_ledger


@dataclass(frozen=True)
class RecordedModel:
    """The newest model of a branch.

    Attributes:
        head: Head of the ledger.
        branch: The branch.
        line: The line that left it.
        before: The lines that left the models before it, the nearest first.
        about: Later lines about this very model: audits and releases.
        remarks: What a reader might miss about these lines.
    """

    head: Head
    branch: str
    line: Statement
    before: Sequence[Statement]
    about: Sequence[Statement]
    remarks: Sequence[str]


def recorded_model(ledger: Ledger, branch: str | None = None) -> RecordedModel:
    """Return the newest model of a branch of a ledger that has been checked.

    Args:
        ledger: The ledger.
        branch: Branch; the main one unless given.

    Raises:
        InputError: A check of the ledger fails, or the branch has no model.
    """
    _check(ledger)
    head, name = ledger.head(), branch or MAIN
    if name not in head.tips:
        known = ", ".join(sorted(head.tips)) or "none"
        raise InputError(f"{ledger.path}: no line left a model on the branch '{name}'; branches: {known}")
    statements = list(ledger.statements())
    line = statements[head.tips[name].sequence]
    before, parent = [], line.predicate.parent
    while parent is not None:
        before.append(statements[parent.sequence])
        parent = before[-1].predicate.parent
    about = [
        one
        for one in statements
        if not one.leaves_model
        and one.predicate.parent is not None
        and one.predicate.parent.sequence == line.predicate.sequence
    ]
    numbers = {one.line for one in (line, *before, *about)}
    said = [text for text in remarks(statements) if any(text.startswith(f"line {number}:") for number in numbers)]
    return RecordedModel(head, name, line, before, about, said)


def recorded_line(ledger: Ledger, number: int) -> Statement:
    """Return a line of a ledger that has been checked.

    Args:
        ledger: The ledger.
        number: Its number, counted from 1.

    Raises:
        InputError: A check of the ledger fails, or it has no such line.
    """
    _check(ledger)
    statement = next(islice(ledger.statements(), number - 1, None), None)
    if statement is None:
        raise InputError(f"{ledger.path}: has {ledger.head().size} lines")
    return statement


def _check(ledger: Ledger) -> None:
    failed = next((one for one in verify_ledger(ledger.path, Trusted.by_ledger(ledger.path)) if not one.holds), None)
    if failed is not None:
        raise InputError(f"{ledger.path}: does not verify ({failed.name}): {failed.text}")


def check_output(ledger: Ledger, path: Path, *, overwrite: bool) -> None:
    """Raise ``InputError`` where a file must not be written: inside the ledger, or over one that is there.

    Args:
        ledger: The ledger.
        path: The file.
        overwrite: Whether a file that is there may be replaced.
    """
    target = path.parent.resolve() / path.name
    if target.is_relative_to(ledger.path):
        raise InputError(f"{path}: lies in the ledger, which holds nothing else")
    if path.is_dir():
        raise InputError(f"{path}: is a directory")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: already exists; --overwrite replaces it")
