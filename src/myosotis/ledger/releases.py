"""Models that others were given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.ledger.claims import Claim, file_digest, model_digests
from myosotis.ledger.statements import leaves_model
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
    digest, digests = model_digests(folder)
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
    predicate = statement["predicate"]
    facts: dict[str, Any] = {
        "run": {"name": predicate["run"]["name"], "kind": "release", "method": None},
        "tool": {"name": "myosotis", "version": __version__},
        "evidence": evidence,
    }
    if recipient:
        facts["recipient"] = recipient
    weights = next(iter(predicate["weights"]["out"]), None)
    return Claim("release", {"model": digest}, digests, weights, (), facts), predicate["branch"]


def _line_of(ledger: Ledger, digest: str, files: dict[str, str]) -> Any | None:
    """Statement of the newest line that left a model."""
    newest = None
    for statement in ledger.statements():
        if leaves_model(statement) and statement["subject"][0]["digest"]["sha256"] == digest:
            newest = statement if statement["predicate"]["files"] == files else newest
    return newest
