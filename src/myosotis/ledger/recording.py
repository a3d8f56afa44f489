"""A finished run becomes a line of the ledger, with commitments to its records, and receipts for whom they belong to.

    record_run(Ledger(folder), run, signer, records=photos, opening=key_file).line

The order matters: the claim is checked against the ledger first, what is private is written next, and the line last, so
that no line commits to records whose key was lost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from myosotis.engine.errors import InputError
from myosotis.ledger.claims import claim_of_audit, claim_of_run, with_commitment
from myosotis.ledger.commitments import commit, entries_of, read_opening, write_opening
from myosotis.ledger.matching import check_records
from myosotis.ledger.receipts import check_receipts, proofs_among, proofs_of_all, write_receipts
from myosotis.ledger.store import Ledger


@dataclass(frozen=True)
class Recorded:
    """A line that was added.

    Attributes:
        line: Its number, from 1.
        kind: What it records: ``learn``, ``forget`` or ``audit``.
        model: Digest of the model.
    """

    line: int
    kind: str
    model: str


def record_run(
    ledger: Ledger,
    run: Path,
    signer: Signer,
    *,
    audit: bool = False,
    branch: str | None = None,
    records: Path | None = None,
    receipts: Path | None = None,
    opening: Path | None = None,
    learned: Sequence[Path] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Recorded:
    """Add a line from a finished run: what was learned, forgotten or audited, with digests of model and evidence.

    An append that was interrupted is completed first; if it was of this run, nothing else is added.

    Args:
        ledger: The ledger.
        run: A finished run that learned or forgot.
        signer: Key of the operator, or of an auditor for an audit.
        audit: Record the second audit of the run, its ``audit.json``.
        branch: Branch of the line; the main one unless given.
        records: Records to commit to: a folder of photos, or a JSONL file.
        receipts: New folder for the receipts, one for each record.
        opening: New private file for the key of the commitments, by which receipts can be made later.
        learned: Keys of earlier lines that learned records of this one, which its receipts then name.
        say: Receives a line at a time about what is going on.

    Raises:
        InputError: The run, the records or the paths do not fit the ledger or each other; nothing is written then.
    """
    if (records is None) != (receipts is None and opening is None) or (audit and records is not None):
        raise InputError("'records' goes with 'receipts' or 'opening', for a run that learned or forgot")
    claim = claim_of_audit(run) if audit else claim_of_run(run)
    completed = ledger.recover(signer)
    if completed is not None:
        say(f"line {completed.line}: an append was interrupted, and is completed now")
        if completed.predicate.evidence == claim.facts["evidence"]:
            check_receipts(completed, receipts, opening)
            return Recorded(completed.line, claim.kind, claim.digest)
    check_new(ledger.path, opening, receipts)
    if learned and (records is None or claim.kind != "forget"):
        raise InputError("'learned' goes with 'records', for a run that forgot")
    if records is not None:
        commitment = commit(entries_of(records))
        had, said = proofs_among(records, [read_opening(path) for path in learned]) if learned else (None, [])
        claim = with_commitment(claim, commitment, said)
        check_records(run, records)
        ledger.check(claim, signer, branch)
        # Before the line: nonces that could not be written would make its commitments worthless.
        if opening is not None:
            write_opening(commitment, opening)
            say(f"key of {commitment.records} commitments: {opening}; keep it private, or destroy it")
        if receipts is not None:
            count = write_receipts(proofs_of_all(commitment), receipts, had)
            say(f"receipts: {count} in {receipts}; hand them out, then delete them here")
    return Recorded(ledger.append(claim, signer, branch), claim.kind, claim.subjects["model"])


def check_outside(directory: Path, *paths: Path | None) -> None:
    """Raise ``InputError`` if something private would be written into the ledger, which others are given."""
    for path in paths:
        if path is not None and path.resolve().is_relative_to(directory.resolve()):
            raise InputError(f"{path}: lies in the ledger, which others are given; what is private goes elsewhere")


def check_new(directory: Path, *paths: Path | None) -> None:
    """Raise ``InputError`` if a private file lies in the ledger, or exists, before any of them is written."""
    check_outside(directory, *paths)
    for path in paths:
        if path is not None and path.exists():
            raise InputError(f"{path}: exists already, and is never replaced")
