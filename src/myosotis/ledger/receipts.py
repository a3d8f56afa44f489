"""Receipts: by which a person proves which line of a ledger covers a record, and which line had learned it."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.ledger.claims import Kind
from myosotis.ledger.commitments import SCHEME, Commitment, Entry, Form, Proof, entries_of, write_private
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.statements import kind_of


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
    """

    root: str
    proofs: Sequence[Proof]


def write_receipts(
    root: str,
    proofs: Mapping[str, Sequence[Proof]],
    folder: Path,
    learned: Mapping[str, Proofs] | None = None,
) -> int:
    """Write a receipt for each record, readable by its owner alone, or none where that fails; returns their number.

    Args:
        root: Root of the commitments in the line.
        proofs: Proofs of each record under it, by its name.
        folder: Folder, which must not exist.
        learned: Of each record, what proves that a line had learned it.

    Raises:
        InputError: It exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already, and a receipt is never replaced")
    folder.mkdir(parents=True, mode=0o700)
    try:
        for name, made in proofs.items():
            path = folder / f"{name}.receipt.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            content: dict[str, Any] = {"scheme": SCHEME, **_written(root, made)}
            if learned is not None:
                content["learned"] = _written(learned[name].root, learned[name].proofs)
            write_private(path, json.dumps(content))
    except BaseException:
        shutil.rmtree(folder)
        raise
    # All at once: a flush for each of thousands of files takes minutes.
    if os.name == "posix":
        os.sync()
    return len(proofs)


def _written(root: str, proofs: Sequence[Proof]) -> dict[str, Any]:
    return {
        "root": root,
        "proofs": [
            {
                "form": proof.form,
                "nonce": proof.nonce.hex(),
                "index": proof.index,
                "size": proof.size,
                "path": [part.hex() for part in proof.path],
            }
            for proof in proofs
        ],
    }


def proofs_among(
    entries: Sequence[Entry], openings: Sequence[Commitment]
) -> tuple[dict[str, Proofs], list[dict[str, Any]]]:
    """Return what proves that records are among commitments, and what a line says of it.

    Args:
        entries: Forms of the records.
        openings: Commitments; a record is looked for in the last of them first.

    Returns:
        Proofs of each record, by its name; root and number of records for each of the commitments that has some.

    Raises:
        InputError: A record is in none of them.
    """
    records: dict[str, list[Entry]] = {}
    for entry in entries:
        records.setdefault(entry.name, []).append(entry)
    proven: dict[str, Proofs] = {}
    counts: dict[str, int] = {}
    for name, forms in records.items():
        made = next((one for one in reversed(openings) if one.knows(forms)), None)
        if made is not None:
            proven[name] = Proofs(made.root, made.proofs_of(forms))
            counts[made.root] = counts.get(made.root, 0) + 1
    if len(proven) != len(records):
        raise InputError(f"{len(records) - len(proven)} of {len(records)} records are in none of these commitments")
    return proven, [{"root": one.root, "count": counts[one.root]} for one in openings if one.root in counts]


def covered_by(record: Path, receipt: Path, statements: Sequence[Any], kind: Kind = "forget") -> Covered:
    """Return the line that covers a record.

    Args:
        record: The record: a photo, or a JSON file.
        receipt: Its receipt.
        statements: Statements of the ledger, whose signatures have been checked.
        kind: Kind that the line must have.

    Raises:
        InputError: One of the files is missing, or the receipt is no receipt.
        EnvelopeError: No line has the commitments, it is of another kind, or they do not cover the record.
    """
    made, learned = _read(receipt)
    forms = {entry.form: entry for entry in entries_of(record)}
    line, covered = _line_of(made, forms, statements, record, receipt)
    _check_kind(statements, line, kind)
    if learned is None:
        return Covered(line, covered, None)
    before, _ = _line_of(learned, forms, statements, record, receipt)
    _check_kind(statements, before, "learn")
    named = statements[line - 1]["predicate"]["records"].get("learned") or []
    if learned.root not in {one["root"] for one in named}:
        raise EnvelopeError(f"line {line} does not say that line {before} had learned its records")
    return Covered(line, covered, before)


def _check_kind(statements: Sequence[Any], line: int, kind: Kind) -> None:
    own = kind_of(statements[line - 1])
    if own != kind:
        raise EnvelopeError(f"line {line} covers the record, but is of kind {own}, not {kind}")


def _line_of(
    made: Proofs, forms: Mapping[Form, Entry], statements: Sequence[Any], record: Path, receipt: Path
) -> tuple[int, tuple[Form, ...]]:
    covering = (one for one in statements if (one["predicate"].get("records") or {}).get("root") == made.root)
    statement = next(covering, None)
    if statement is None:
        raise EnvelopeError(f"no line has the commitments of {receipt.name}")
    size, line = statement["predicate"]["records"]["commitments"], statement["predicate"]["sequence"] + 1
    covered = {
        proof.form
        for proof in made.proofs
        if proof.form in forms and proof.size == size and proof.leads(forms[proof.form], made.root)
    }
    if not covered:
        raise EnvelopeError(f"line {line} does not cover {record.name}: {receipt.name} is of another record")
    return line, tuple(sorted(covered))


def _read(path: Path) -> tuple[Proofs, Proofs | None]:
    if not path.is_file():
        raise InputError(f"{path}: no such receipt")
    try:
        content = json.loads(path.read_text("utf-8"))
        scheme, made = content["scheme"], _proofs(content)
        learned = _proofs(content["learned"]) if "learned" in content else None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no receipt") from None
    if scheme != SCHEME:
        raise InputError(f"{path}: is of scheme {scheme!r}, this program knows {SCHEME}")
    return made, learned


def _proofs(content: Any) -> Proofs:
    proofs = [
        Proof(
            one["form"],
            bytes.fromhex(one["nonce"]),
            int(one["index"]),
            int(one["size"]),
            tuple(bytes.fromhex(part) for part in one["path"]),
        )
        for one in content["proofs"]
    ]
    return Proofs(str(content["root"]), proofs)
