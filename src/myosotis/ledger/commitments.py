"""Commitments to records, which say nothing about them, and receipts by which a person proves that hers is among them.

Of a request with a random key K, record i has the nonce ``HMAC(K, "myosotis/v1/nonce" || i)`` and the commitment
``HMAC(nonce, "myosotis/v1/record" || canonical form)``, all HMAC-SHA256. Their Merkle root enters the ledger; K is
forgotten at once, and a nonce is in the receipt of its record alone. Without receipts nobody can link the root to
anybody.
"""

import hashlib
import hmac
import io
import json
import os
import secrets
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from myosotis.data.image_files import SUFFIXES, files_below
from myosotis.data.records import read_jsonl_rows
from myosotis.engine.errors import InputError
from myosotis.ledger.envelopes import EnvelopeError, canonical
from myosotis.ledger.merkle import inclusion_paths, leaf_hash, root_of_path

Form = Literal["file", "pixels", "text"]

SCHEME = "myosotis/v1"


@dataclass(frozen=True)
class Entry:
    """A canonical form of a record.

    Attributes:
        name: Name of the record among its like.
        form: ``file``: its bytes; ``pixels``: its decoded RGB at native size; ``text``: its normalised JSON.
        content: SHA-256 of the bytes, preceded by what they are.
    """

    name: str
    form: Form
    content: bytes


@dataclass(frozen=True)
class Commitment:
    """Commitments to the records of a request.

    Attributes:
        root: Merkle root over the commitments, which are in the order of their values.
        size: Number of commitments.
        receipts: Of each entry, by name and form: nonce, index and path.
    """

    root: str
    size: int
    receipts: dict[tuple[str, Form], dict[str, Any]]


def entries_of(path: Path) -> list[Entry]:
    """Return the canonical forms of the records in a folder of photos, a photo, a JSONL file, or a JSON file.

    A photo has two: a copy with other metadata still has the pixels.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    if path.is_dir():
        files = files_below(path)
        if not files:
            raise InputError(f"{path}: holds no photo; known formats: {', '.join(SUFFIXES)}")
        return [entry for file in files for entry in _of_photo(file, file.relative_to(path).as_posix())]
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder of records")
    if path.suffix.lower() in SUFFIXES:
        return _of_photo(path, path.name)
    if path.suffix == ".jsonl":
        return [_of_text(row, f"line-{where.rpartition(' ')[2]}") for where, row in read_jsonl_rows(path)]
    try:
        return [_of_text(json.loads(path.read_text("utf-8-sig")), path.stem)]
    except ValueError:
        raise InputError(f"{path}: is no JSON") from None


def _of_photo(path: Path, name: str) -> list[Entry]:
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InputError(f"{path}: cannot be read as an image") from None
    head = f"pixels {pixels.width}x{pixels.height} RGB ".encode()
    return [
        Entry(name, "file", hashlib.sha256(b"file " + content).digest()),
        Entry(name, "pixels", hashlib.sha256(head + pixels.tobytes()).digest()),
    ]


def _of_text(record: Any, name: str) -> Entry:
    return Entry(name, "text", hashlib.sha256(b"text " + canonical(_folded(record))).digest())


def _folded(value: Any) -> Any:
    """Text in Unicode's form C, with runs of white space as one space: what retyping does not change."""
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).split())
    if isinstance(value, dict):
        return {_folded(key): _folded(inner) for key, inner in value.items()}
    return [_folded(inner) for inner in value] if isinstance(value, list) else value


def commit(entries: Sequence[Entry]) -> Commitment:
    """Return commitments to entries under a new key, which is forgotten here.

    Raises:
        InputError: Two entries have one name and form.
    """
    if len({(entry.name, entry.form) for entry in entries}) != len(entries) or not entries:
        raise InputError("commitments need at least one record, each with a name of its own")
    key = secrets.token_bytes(32)
    made = []
    for number, entry in enumerate(entries):
        nonce = hmac.digest(key, f"{SCHEME}/nonce".encode() + number.to_bytes(8, "big"), "sha256")
        made.append((_committed(nonce, entry), nonce, entry))
    made.sort(key=lambda one: one[0])
    root, paths = inclusion_paths([leaf_hash(commitment) for commitment, _, _ in made])
    receipts = {
        (entry.name, entry.form): {
            "form": entry.form,
            "nonce": nonce.hex(),
            "index": index,
            "size": len(made),
            "path": [part.hex() for part in paths[index]],
        }
        for index, (_, nonce, entry) in enumerate(made)
    }
    return Commitment(root.hex(), len(made), receipts)


def _committed(nonce: bytes, entry: Entry) -> bytes:
    return hmac.digest(nonce, f"{SCHEME}/record".encode() + entry.content, "sha256")


def write_receipts(commitment: Commitment, folder: Path) -> int:
    """Write a receipt for each record, readable by its owner alone; returns their number.

    Args:
        commitment: Commitments to the records.
        folder: Folder, which must not exist.

    Raises:
        InputError: It exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already, and a receipt is never replaced")
    proofs = defaultdict(list)
    for (name, _), proof in commitment.receipts.items():
        proofs[name].append(proof)
    folder.mkdir(parents=True, mode=0o700)
    for name, own in proofs.items():
        path = folder / f"{name}.receipt.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"scheme": SCHEME, "root": commitment.root, "proofs": own})
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(content)
    # All at once: a flush for each of thousands of files takes minutes.
    if os.name == "posix":
        os.sync()
    return len(proofs)


def covered_by(record: Path, receipt: Path, statements: Sequence[Any]) -> tuple[int, list[Form]]:
    """Return the number of the line that covers a record, counted from 1, and by which of its forms.

    Args:
        record: The record: a photo, or a JSON file.
        receipt: Its receipt.
        statements: Statements of the ledger, whose signatures have been checked.

    Raises:
        InputError: One of the files is missing, or the receipt is no receipt.
        EnvelopeError: No line has the commitments, or they do not cover the record.
    """
    root, proofs = _read_receipt(receipt)
    covering = (one for one in statements if (one["predicate"].get("records") or {}).get("root") == root)
    statement = next(covering, None)
    if statement is None:
        raise EnvelopeError(f"no line has the commitments of {receipt.name}")
    size, number = statement["predicate"]["records"]["commitments"], statement["predicate"]["sequence"] + 1
    forms = {entry.form: entry for entry in entries_of(record)}
    covered = [
        proof.form
        for proof in proofs
        if proof.form in forms and proof.size == size and _leads(proof, forms[proof.form], root)
    ]
    if not covered:
        raise EnvelopeError(f"line {number} does not cover {record.name}: {receipt.name} is of another record")
    return number, sorted(covered)


@dataclass(frozen=True)
class _Proof:
    form: Form
    nonce: bytes
    index: int
    size: int
    path: list[bytes]


def _leads(proof: _Proof, entry: Entry, root: str) -> bool:
    try:
        reached = root_of_path(leaf_hash(_committed(proof.nonce, entry)), proof.index, proof.size, proof.path)
    except ValueError:
        return False
    return reached.hex() == root


def _read_receipt(path: Path) -> tuple[str, list[_Proof]]:
    if not path.is_file():
        raise InputError(f"{path}: no such receipt")
    try:
        content = json.loads(path.read_text("utf-8"))
        scheme, proofs = content["scheme"], content["proofs"]
        made = [
            _Proof(
                one["form"],
                bytes.fromhex(one["nonce"]),
                int(one["index"]),
                int(one["size"]),
                [bytes.fromhex(part) for part in one["path"]],
            )
            for one in proofs
        ]
        root = str(content["root"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is no receipt") from None
    if scheme != SCHEME:
        raise InputError(f"{path}: is of scheme {scheme!r}, this program knows {SCHEME}")
    return root, made
