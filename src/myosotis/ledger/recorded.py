"""A model of a ledger, with everything that the ledger says about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.ledger.statements import MAIN, leaves_model
from myosotis.ledger.store import Head, Ledger
from myosotis.ledger.table import remarks
from myosotis.ledger.verification import verify_ledger


@dataclass(frozen=True)
class RecordedModel:
    """The newest model of a branch.

    Attributes:
        head: Head of the ledger.
        branch: The branch.
        line: Number and statement of the line that left it; lines are counted from 1.
        before: The lines that left the models before it, the nearest first.
        about: Later lines about this very model: audits and releases.
        remarks: What a reader might miss about these lines.
    """

    head: Head
    branch: str
    line: tuple[int, Any]
    before: Sequence[tuple[int, Any]]
    about: Sequence[tuple[int, Any]]
    remarks: Sequence[str]

    @property
    def digest(self) -> str:
        """SHA-256 of the model."""
        return str(self.line[1]["subject"][0]["digest"]["sha256"])


def recorded_model(ledger: Ledger, branch: str | None = None) -> RecordedModel:
    """Return the newest model of a branch of a ledger that has been checked.

    Args:
        ledger: The ledger.
        branch: Branch; the main one unless given.

    Raises:
        InputError: A check of the ledger fails, or the branch has no model.
    """
    failed = next((check for check in verify_ledger(ledger.path, ledger.keys) if not check.holds), None)
    if failed is not None:
        raise InputError(f"{ledger.path}: does not verify ({failed.name}): {failed.text}")
    head, name = ledger.head(), branch or MAIN
    if name not in head.tips:
        known = ", ".join(sorted(head.tips)) or "none"
        raise InputError(f"{ledger.path}: no line left a model on the branch '{name}'; branches: {known}")
    statements = list(enumerate(ledger.statements(), start=1))
    line = statements[head.tips[name]["sequence"]]
    before, parent = [], line[1]["predicate"]["parent"]
    while parent is not None:
        before.append(statements[parent["sequence"]])
        parent = before[-1][1]["predicate"]["parent"]
    about = [(number, one) for number, one in statements if not leaves_model(one) and _parent_of(one) == line[0]]
    numbers = {number for number, _ in (line, *before, *about)}
    said = [
        text
        for text in remarks([statement for _, statement in statements])
        if any(text.startswith(f"line {number}:") for number in numbers)
    ]
    return RecordedModel(head, name, line, before, about, said)


def _parent_of(statement: Any) -> int | None:
    """Number of the line whose model a line is about."""
    parent = statement["predicate"]["parent"]
    return None if parent is None else int(parent["sequence"]) + 1


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
