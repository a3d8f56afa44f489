"""Models that others were given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.ledger.claims import Claim, directory_digest, file_digest
from myosotis.ledger.statements import Statement
from myosotis.ledger.store import Ledger


def claim_of_release(
    ledger: Ledger, model: Path, files: Sequence[Path] = (), recipient: str | None = None
) -> tuple[Claim, str]:
    """Return the claim that a model was given to others, and the branch that it is of.

    Args:
        ledger: The ledger.
        model: Directory of the model, or of its run; it must be the model that a line left, file by file.
        files: Further files that went with it: converted weights, a report, a certificate.
        recipient: Who was given them, as the line is to say it.

    Raises:
        InputError: No line left this model, a file is missing or a link, or two have one name.
    """
    folder = model / "model" if (model / "config.yaml").is_file() else model
    if not folder.is_dir():
        raise InputError(f"{model}: no such directory of a model")
    digest, digests = directory_digest(folder)
    statement = _line_of(ledger, digest, digests)
    if statement is None:
        raise InputError(f"{model}: is not the model that a line left; add its run to the ledger first")
    evidence: dict[str, str] = {}
    for file in files:
        if not file.is_file() or file.is_symlink():
            raise InputError(f"{file}: no such file, or a link")
        if file.name in evidence:
            raise InputError(f"two files would be called {file.name} in the line")
        evidence[file.name] = file_digest(file)
    said = statement.predicate
    facts: dict[str, Any] = {
        "run": {"name": said.run.name, "kind": "release", "method": None},
        "tool": {"name": "myosotis", "version": __version__},
        "evidence": evidence,
    }
    if recipient:
        facts["recipient"] = recipient
    return Claim("release", {"model": digest}, digests, next(iter(said.weights.left), None), (), facts), said.branch


def _line_of(ledger: Ledger, digest: str, files: dict[str, str]) -> Statement | None:
    """The newest line that left a model with these files, whose names are not a part of its digest."""
    newest = None
    for statement in ledger.statements():
        if statement.leaves_model and statement.digest == digest and statement.predicate.files == files:
            newest = statement
    return newest
