"""Receipts: by which a person proves which line of a ledger covers a record, and which line had learned it."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from myosotis.engine.errors import InputError
from myosotis.ledger.commitments import (
    SCHEME,
    Commitment,
    Entry,
    Form,
    Proof,
    Scheme,
    entries_of,
    parse_json,
    read_opening,
    write_private,
)
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.statements import Kind, Part, Sha256, Statement, Whole, parsed


@dataclass(frozen=True)
class Covered:
    """The line that covers a record.

    Attributes:
        line: Number of the line, counted from 1.
        forms: The forms of the record that it covers.
        learned: Number of the line that had learned the record; None if the receipt does not say.
    """

    line: int
    forms: tuple[Form, ...]
    learned: int | None


@dataclass(frozen=True)
class Proofs:
    """What proves that a record is among commitments.

    Attributes:
        root: Root of the commitments.
        proofs: A proof for each form of the record that is among them.
        scheme: Version of the forms.
    """

    root: str
    proofs: Sequence[Proof]
    scheme: Scheme = SCHEME

    def content(self) -> dict[str, Any]:
        """Return it for a receipt."""
        proofs = [
            {
                "form": proof.form,
                "nonce": proof.nonce.hex(),
                "index": proof.index,
                "size": proof.size,
                "path": [part.hex() for part in proof.path],
            }
            for proof in self.proofs
        ]
        return {"scheme": self.scheme, "root": self.root, "proofs": proofs}


def write_receipts(proofs: Mapping[str, Proofs], folder: Path, learned: Mapping[str, Proofs] | None = None) -> int:
    """Write a receipt for each record, readable by its owner alone, or none where that fails; returns their number.

    Args:
        proofs: Of each record, by its name, what proves that the line covers it.
        folder: Folder, which must not exist.
        learned: Of each record, what proves that a line had learned it.

    Raises:
        InputError: It exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: already exists, and a receipt is never replaced")
    folder.mkdir(parents=True, mode=0o700)
    try:
        for name, made in proofs.items():
            path = folder / f"{name}.receipt.json"
            if ".." in path.relative_to(folder).parts or not path.is_relative_to(folder):
                raise InputError(f"{name!r}: is not a name of a record")
            path.parent.mkdir(parents=True, exist_ok=True)
            content = made.content()
            if learned is not None:
                content["learned"] = learned[name].content()
            write_private(path, json.dumps(content))
    except BaseException:
        shutil.rmtree(folder)
        raise
    # All at once: a flush for each of thousands of files takes minutes.
    if os.name == "posix":
        os.sync()
    return len(proofs)


def proofs_of_all(commitment: Commitment) -> dict[str, Proofs]:
    """Return the proofs of all records of commitments, by their names."""
    return {name: Proofs(commitment.root, made, commitment.scheme) for name, made in commitment.proofs().items()}


def proofs_among(records: Path, openings: Sequence[Commitment]) -> tuple[dict[str, Proofs], list[dict[str, Any]]]:
    """Return what proves that records are among commitments, and what a line says of it.

    Args:
        records: The records: photos, or a JSONL file.
        openings: Commitments; a record is looked for in the last of them first.

    Returns:
        Proofs of each record, by its name; root and number of records for each of the commitments that has some.

    Raises:
        InputError: A record is in none of them.
    """
    forms: dict[Scheme, dict[str, list[Entry]]] = {}
    for scheme in {SCHEME, *(one.scheme for one in openings)}:
        forms[scheme] = {}
        for entry in entries_of(records, scheme):
            forms[scheme].setdefault(entry.name, []).append(entry)
    proven: dict[str, Proofs] = {}
    counts: dict[str, int] = {}
    for name in forms[SCHEME]:
        made = next((one for one in reversed(openings) if one.knows(forms[one.scheme][name])), None)
        if made is not None:
            proven[name] = Proofs(made.root, made.proofs_of(forms[made.scheme][name]), made.scheme)
            counts[made.root] = counts.get(made.root, 0) + 1
    missing = [name for name in forms[SCHEME] if name not in proven]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(forms[SCHEME])} records are in none of these commitments; {missing[0]} first"
        )
    return proven, [{"root": one.root, "count": counts[one.root]} for one in openings if one.root in counts]


class ProofText(Part):
    """A proof in a receipt."""

    form: Form
    """Form of the record that was committed to."""
    nonce: Sha256
    """Nonce of the commitment."""
    index: Whole
    """Index among the commitments."""
    size: Whole
    """Number of commitments."""
    path: tuple[Sha256, ...] = Field(strict=False)
    """Hashes that lead from the commitment to the root."""


class ProofsText(Part):
    """The proofs of a record under a root, in a receipt."""

    scheme: Scheme | None = None
    """Version of the forms; that of the receipt unless given."""
    root: Sha256
    """Root of the commitments."""
    proofs: tuple[ProofText, ...] = Field(min_length=1, strict=False)
    """A proof for each form of the record."""

    def proofs_of(self, form: Form) -> Iterator[Proof]:
        """Yield the proofs of a form."""
        for one in self.proofs:
            if one.form == form:
                path = tuple(map(bytes.fromhex, one.path))
                yield Proof(one.form, bytes.fromhex(one.nonce), one.index, one.size, path)


class Receipt(ProofsText):
    """A receipt; :func:`read_receipt` reads one."""

    scheme: Scheme
    """Version of the forms."""
    learned: ProofsText | None = None
    """The same under the root of an earlier line that had learned the record."""

    @property
    def roots(self) -> list[str]:
        """The roots that it names."""
        return [self.root] if self.learned is None else [self.root, self.learned.root]


def read_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises:
        InputError: It is missing, damaged, or of another version.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such receipt")
    try:
        return parsed(Receipt, parse_json(path.read_bytes()), "the receipt")
    except EnvelopeError as error:
        raise InputError(f"{path}: {error}") from None


def check_receipts(line: Statement, receipts: Path | None, opening: Path | None) -> None:
    """Raise ``InputError`` unless receipts and a key of commitments, where they exist, are those of a line.

    Args:
        line: The line, which an interrupted command had written.
        receipts: Folder of the receipts that the command was to write.
        opening: File of the key that it was to write.
    """
    root = line.predicate.records.root
    written = [] if receipts is None else sorted(receipts.rglob("*.receipt.json"))
    roots = {read_receipt(path).root for path in written[:1]}
    if opening is not None and opening.exists():
        roots.add(read_opening(opening).root)
    if roots - {root}:
        raise InputError(f"line {line.line}: {receipts or opening} are of other commitments than this line's")
    if root is not None and not roots:
        raise InputError(f"line {line.line}: its receipts are gone, and with them the proof of what it covers")


def covered_by(record: Path, receipt: Receipt, lines: Mapping[str, Statement], kind: Kind = "forget") -> Covered:
    """Return the line that covers a record.

    Args:
        record: The record: a photo, or a JSON file.
        receipt: Its receipt.
        lines: By their roots, the statements with the commitments that the receipt names, whose signatures have been
            checked.
        kind: Kind that the line must have.

    Raises:
        InputError: The record is missing.
        EnvelopeError: No line has the commitments, it is of another kind, or they do not cover the record.
    """
    line, covered = _line_of(receipt, receipt.scheme, record, lines, kind)
    if receipt.learned is None:
        return Covered(line.line, covered, None)
    before, _ = _line_of(receipt.learned, receipt.learned.scheme or receipt.scheme, record, lines, "learn")
    if receipt.learned.root not in {one.root for one in line.predicate.records.learned}:
        raise EnvelopeError(f"line {line.line} does not say that line {before.line} had learned its records")
    return Covered(line.line, covered, before.line)


def _line_of(
    made: ProofsText, scheme: Scheme, record: Path, lines: Mapping[str, Statement], kind: Kind
) -> tuple[Statement, tuple[Form, ...]]:
    line = lines.get(made.root)
    if line is None or line.predicate.records.scheme != scheme:
        raise EnvelopeError("no line has the commitments of this receipt")
    size, forms = line.predicate.records.commitments, entries_of(record, scheme)
    covered = {
        entry.form
        for entry in forms
        for proof in made.proofs_of(entry.form)
        if proof.size == size and proof.leads(entry, made.root)
    }
    if not covered:
        raise EnvelopeError(f"line {line.line} does not cover the record: the receipt is of another one")
    if line.kind != kind:
        raise EnvelopeError(f"line {line.line} covers the record, but is of kind {line.kind}, not {kind}")
    return line, tuple(sorted(covered))
