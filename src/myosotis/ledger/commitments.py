"""Commitments to records, which say nothing about them to whoever has no receipt.

Of a random key K, record i has the nonce ``HMAC(K, "myosotis/v1/nonce" || i)`` and the commitment
``HMAC(nonce, "myosotis/v1/record" || canonical form)``, all HMAC-SHA256. Their Merkle root enters the ledger. K is
forgotten, or goes into a private file from which receipts are made; a nonce is in the receipt of its record alone.
Without K and receipts nobody can link the root to anybody.
"""

import codecs
import hashlib
import hmac
import io
import json
import math
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from PIL import Image, ImageSequence

from myosotis.data.image_files import DAMAGED, SUFFIXES, TOO_MANY, check_regular, check_size, files_below
from myosotis.engine.errors import InputError
from myosotis.ledger.envelopes import EnvelopeError, canonical
from myosotis.ledger.merkle import inclusion_paths, leaf_hash, root_of_path

Form = Literal["file", "pixels", "text"]

Scheme = Literal["myosotis/v1", "myosotis/v2"]
"""Versions of the canonical forms and commitments; of v1, receipts are still checked."""
SCHEME: Scheme = "myosotis/v2"
"""Version that is written."""
_DOMAIN = "myosotis/v1"  # of the commitments, which are the same in both versions


@dataclass(frozen=True)
class Entry:
    """A canonical form of a record.

    Attributes:
        name: Name of the record among its like.
        form: ``file``: its bytes; ``pixels``: its pages, decoded at native size and depth; ``text``: its
            normalised JSON.
        content: SHA-256 of the bytes, preceded by what they are.
    """

    name: str
    form: Form
    content: bytes


@dataclass(frozen=True)
class Proof:
    """What shows that a commitment is under a root, to whoever has the record.

    Attributes:
        form: Form of the record that was committed to.
        nonce: Nonce of the commitment.
        index: Index among the commitments, which are in the order of their values.
        size: Number of commitments.
        path: Hashes that lead from the commitment to the root.
    """

    form: Form
    nonce: bytes
    index: int
    size: int
    path: tuple[bytes, ...]

    def leads(self, entry: Entry, root: str) -> bool:
        """Return whether the commitment to an entry is under a root."""
        try:
            leaf = leaf_hash(commitment_to(self.nonce, entry.content))
            return root_of_path(leaf, self.index, self.size, self.path).hex() == root
        except ValueError:
            return False


@dataclass(frozen=True)
class Commitment:
    """Commitments to records under one key.

    Attributes:
        key: The key; whoever has it can tell whether a given record is among these.
        names: Name and form of each entry.
        tags: HMAC of each entry's content under the key, by which it is recognised.
        values: The commitment to each entry.
        scheme: Version of the canonical forms.
    """

    key: bytes = field(repr=False)
    names: tuple[tuple[str, Form], ...]
    tags: tuple[bytes, ...]
    values: tuple[bytes, ...]
    scheme: Scheme = SCHEME

    @property
    def size(self) -> int:
        """Number of commitments."""
        return len(self.values)

    @property
    def records(self) -> int:
        """Number of records, of which a photo has two commitments."""
        return len({name for name, _ in self.names})

    @property
    def root(self) -> str:
        """Merkle root over the commitments, in the order of their values."""
        return self._tree[0].hex()

    @cached_property
    def _tree(self) -> tuple[bytes, list[list[bytes]], list[int]]:
        order = sorted(range(self.size), key=self.values.__getitem__)
        root, paths = inclusion_paths([leaf_hash(self.values[number]) for number in order])
        ranks = [0] * self.size
        for rank, number in enumerate(order):
            ranks[number] = rank
        return root, paths, ranks

    @cached_property
    def _numbers(self) -> dict[bytes, int]:
        return {tag: number for number, tag in reversed(list(enumerate(self.tags)))}

    def proofs(self) -> dict[str, list[Proof]]:
        """Return the proofs of every record, by its name."""
        proofs: dict[str, list[Proof]] = {}
        for number, (name, _) in enumerate(self.names):
            proofs.setdefault(name, []).append(self._proof(number))
        return proofs

    def knows(self, forms: Iterable[Entry]) -> bool:
        """Return whether one of the forms of a record is among these commitments, under any name."""
        return bool(self.proofs_of(forms))

    def proofs_of(self, forms: Iterable[Entry]) -> list[Proof]:
        """Return the proofs of the forms of a record that are among these commitments, under any name."""
        numbers = (self._numbers.get(_tag(self.key, entry.content)) for entry in forms)
        return [self._proof(number) for number in numbers if number is not None]

    def _proof(self, number: int) -> Proof:
        _, paths, ranks = self._tree
        rank = ranks[number]
        return Proof(self.names[number][1], _nonce(self.key, number), rank, self.size, tuple(paths[rank]))


def entries_of(path: Path, scheme: Scheme = SCHEME) -> list[Entry]:
    """Return the canonical forms of the records in a folder of photos, a photo, a JSONL file, or a JSON file.

    A photo has two: a copy with other metadata still has the pixels.

    Args:
        path: Folder or file.
        scheme: Version of the forms.

    Raises:
        InputError: There is none, or one cannot be read.
    """
    if path.is_dir():
        files = files_below(path)
        if not files:
            raise InputError(f"{path}: holds no photo; known formats: {', '.join(SUFFIXES)}")
        return [entry for file in files for entry in _of_photo(file, file.relative_to(path).as_posix(), scheme)]
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder of records")
    if path.suffix.lower() in SUFFIXES:
        return _of_photo(path, path.name, scheme)
    try:
        if path.suffix == ".jsonl":
            lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).splitlines()
            rows = [(f"line-{number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
            if not rows:
                raise InputError(f"{path}: holds no record")
        else:
            rows = [(path.stem, path.read_bytes().removeprefix(codecs.BOM_UTF8))]
        return [_of_text(row, path, name, scheme) for name, row in rows]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def parse_json(content: bytes) -> Any:
    """Return the value of JSON that every program reads alike.

    Raises:
        EnvelopeError: It is not JSON in UTF-8, has a key twice, or a number that a double does not hold.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=_exact,
            parse_float=_finite,
            parse_constant=_no_number,
        )
    except EnvelopeError:
        raise
    except (ValueError, RecursionError):
        raise EnvelopeError("is not JSON") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise EnvelopeError("has a key twice, so that programs read it differently")
    return dict(pairs)


def _exact(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > 2**53 - 1:
        raise EnvelopeError("holds a whole number beyond 2^53, which programs read differently; write it as text")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise EnvelopeError(f"holds the number {text[:40]}, which a double does not hold")
    return value


def _no_number(text: str) -> NoReturn:
    raise EnvelopeError(f"holds {text}, which is not JSON")


def _of_photo(path: Path, name: str, scheme: Scheme) -> list[Entry]:
    check_regular(path)
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_size(image.size, path)
            pixels = _pixels(image) if scheme == SCHEME else _pixels_of_v1(image)
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(f"{path}: has {TOO_MANY}") from None
    except DAMAGED:
        raise InputError(f"{path}: cannot be read as an image") from None
    return [
        Entry(name, "file", hashlib.sha256(b"file " + content).digest()),
        Entry(name, "pixels", pixels),
    ]


def _pixels(image: Image.Image) -> bytes:
    """SHA-256 of every page at its full depth: grey and colour in bytes, deep grey in 32 bits; opaque alpha is none."""
    content, pages = hashlib.sha256(), 0
    for page in ImageSequence.Iterator(image):
        pages += 1
        mode = _MODES.get(page.mode, "RGB")
        made = page if page.mode == mode else page.convert(mode)
        if mode in ("RGBA", "LA") and made.getchannel("A").getextrema() == (255, 255):
            mode = mode[:-1]
            made = made.convert(mode)
        deep = {"I": "<i4", "F": "<f4"}.get(mode)
        pixels = made.tobytes() if deep is None else np.asarray(made).astype(deep).tobytes()
        content.update(f"page {made.width}x{made.height} {mode} ".encode() + pixels)
    return hashlib.sha256(f"pixels {pages} ".encode() + content.digest()).digest()


_MODES = {mode: mode for mode in ("L", "LA", "RGB", "RGBA", "I", "F")} | {
    "1": "L",
    "P": "RGBA",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "La": "LA",
    "I;16": "I",
    "I;16B": "I",
    "I;16L": "I",
}
"""The mode of Pillow that a page is taken in, by its own; of CMYK and others, RGB."""


def _pixels_of_v1(image: Image.Image) -> bytes:
    """SHA-256 of the first page as RGB: of receipts from before v2."""
    pixels = image.convert("RGB")
    return hashlib.sha256(f"pixels {pixels.width}x{pixels.height} RGB ".encode() + pixels.tobytes()).digest()


def _of_text(row: bytes, path: Path, name: str, scheme: Scheme) -> Entry:
    try:
        record = _canonical_text(parse_json(row), scheme)
    except EnvelopeError as error:
        line = f", line {name.removeprefix('line-')}" if path.suffix == ".jsonl" else ""
        raise InputError(f"{path}{line}: {error}") from None
    return Entry(name, "text", hashlib.sha256(b"text " + record).digest())


def _canonical_text(record: Any, scheme: Scheme) -> bytes:
    try:
        return canonical(_folded(record, keys=scheme != SCHEME))
    except (ValueError, RecursionError):
        raise EnvelopeError("is nested too deep, or holds half of a surrogate pair") from None


def _folded(value: Any, *, keys: bool) -> Any:
    """Text in Unicode's form C, with runs of white space as one space: what retyping does not change.

    Args:
        value: JSON.
        keys: Whether keys are folded too, as in v1.
    """
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).split())
    if isinstance(value, dict):
        return {_folded(key, keys=True) if keys else key: _folded(inner, keys=keys) for key, inner in value.items()}
    return [_folded(inner, keys=keys) for inner in value] if isinstance(value, list) else value


def commit(entries: Sequence[Entry], key: bytes | None = None) -> Commitment:
    """Return commitments to entries.

    Args:
        entries: The entries.
        key: Key; drawn unless given.

    Raises:
        InputError: Two entries have one name and form.
    """
    if len({(entry.name, entry.form) for entry in entries}) != len(entries) or not entries:
        raise InputError("commitments need at least one record, each with a name of its own")
    key = secrets.token_bytes(32) if key is None else key
    return Commitment(
        key,
        tuple((entry.name, entry.form) for entry in entries),
        tuple(_tag(key, entry.content) for entry in entries),
        tuple(commitment_to(_nonce(key, number), entry.content) for number, entry in enumerate(entries)),
    )


def commitment_to(nonce: bytes, content: bytes) -> bytes:
    """Return the commitment to the content of an entry under its nonce."""
    return hmac.digest(nonce, f"{_DOMAIN}/record".encode() + content, "sha256")


def _nonce(key: bytes, number: int) -> bytes:
    return hmac.digest(key, f"{_DOMAIN}/nonce".encode() + number.to_bytes(8, "big"), "sha256")


def _tag(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, f"{_DOMAIN}/tag".encode() + content, "sha256")


def write_opening(commitment: Commitment, path: Path) -> None:
    """Write the key of commitments, and what finds a record among them, readable by its owner alone.

    Raises:
        InputError: Something is there already.
    """
    content = {
        "scheme": commitment.scheme,
        "root": commitment.root,
        "key": commitment.key.hex(),
        "entries": [
            [name, form, tag.hex(), value.hex()]
            for (name, form), tag, value in zip(commitment.names, commitment.tags, commitment.values, strict=True)
        ],
    }
    write_private(path, json.dumps(content), at_once=True)


def write_private(path: Path, text: str, *, at_once: bool = False) -> None:
    """Write a new file that its owner alone can read; where that fails there is none.

    Args:
        path: The file.
        text: Its content.
        at_once: Whether to return only when the disk has it.

    Raises:
        InputError: Something is there already.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{path}: already exists, and is never replaced") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            if at_once:
                os.fsync(stream.fileno())
    except BaseException:
        path.unlink()
        raise


def read_opening(path: Path) -> Commitment:
    """Read what :func:`write_opening` wrote.

    Raises:
        InputError: It is missing, damaged, of another version, or others can read it.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file with the key of commitments")
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"{path}: others can read this key; `chmod 600` it")
    try:
        content = parse_json(path.read_bytes())
        scheme, key = str(content["scheme"]), bytes.fromhex(content["key"])
        names, forms, tags, values = zip(*content["entries"], strict=True)
        commitment = Commitment(
            key,
            tuple(zip(names, forms, strict=True)),
            tuple(map(bytes.fromhex, tags)),
            tuple(map(bytes.fromhex, values)),
            scheme,  # type: ignore[arg-type]
        )
        root, known = str(content["root"]), set(forms) <= set(get_args(Form)) and set(map(type, names)) == {str}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path}: is not a key of commitments") from None
    if scheme not in get_args(Scheme):
        raise InputError(f"{path}: is of scheme {scheme[:40]!r}, this program knows {', '.join(get_args(Scheme))}")
    if commitment.root != root or not known:
        raise InputError(f"{path}: is damaged")
    return commitment
