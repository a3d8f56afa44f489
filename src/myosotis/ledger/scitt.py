"""Lines of a ledger as statements of SCITT: COSE_Sign1 (RFC 9052) with receipts of inclusion (RFC 9942, RFC 9943).

A signed statement has a line as its payload. A receipt is the log's signature over the root of the Merkle tree, with
the path from the line to the root; RFC 9942 calls such a tree RFC9162_SHA256. A signed statement with receipts in its
header is a transparent statement, which is verified offline::

    statement = sign_statement(line, signer, issuer="example.com/team", subject="urn:...")
    receipt = make_receipt(leaves, index, signer, issuer="example.com/log", subject="urn:...")
    registered = verify_statement(with_receipts(statement, [receipt]), [issuer_key], [log_key])

One thing differs from the transparency service of RFC 9943: there an entry of the log is the signed statement, here it
is the line itself, so a verifier hashes the payload. The line was in the log before the statement was made of it.

CBOR is read and written by ``cbor2``. The bytes that a signature covers are built here (RFC 9052, section 4.4), since
packages for COSE sign with private keys that they hold, and a signer may be a machine.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Signer, SSlibKey

from myosotis.engine.extras import require
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.merkle import inclusion_paths, leaf_hash, root_of_path

CONTENT_TYPE = "application/vnd.dsse.envelope.v1+json"
"""Type of the payload: a line is a DSSE envelope."""

_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _KEY_ID, _CLAIMS = 1, 2, 3, 4, 15  # of headers, RFC 9052 and RFC 9597
_RECEIPTS, _STRUCTURE, _PROOFS = 394, 395, 396  # of headers, RFC 9942
_ISSUER, _SUBJECT = 1, 2  # of claims, RFC 8392
_RFC9162_SHA256, _INCLUSION = 1, -1  # RFC 9942
_SIGN1 = 18  # tag of COSE_Sign1
_EDDSA, _ED25519 = -8, -19  # RFC 9053, and RFC 9864, whose number fewer verifiers know
_MAX_PATH = 63


@dataclass(frozen=True)
class Registered:
    """What a receipt shows.

    Attributes:
        line: The line.
        issuer: Who made the statement of it, in its own words.
        subject: What the statement is about.
        log: Name of the log.
        index: Index of the line in the log.
        size: Number of lines that the receipt covers.
    """

    line: bytes
    issuer: str
    subject: str
    log: str
    index: int
    size: int


class _Message(NamedTuple):
    """A COSE_Sign1 message; ``header`` is what ``protected`` encodes."""

    protected: bytes
    header: dict[Any, Any]
    unprotected: Mapping[Any, Any]
    payload: bytes | None
    signature: bytes


def sign_statement(line: bytes, signer: Signer, issuer: str, subject: str) -> bytes:
    """Return a line as a signed statement, in CBOR.

    Args:
        line: The line, without its end.
        signer: Signer with an Ed25519 key.
        issuer: Who makes the statement, a URI by custom.
        subject: What it is about: the model, by its digest.

    Raises:
        MissingExtraError: The package for CBOR is not installed.
    """
    require("scitt", "a signed statement")
    return _encoded(_signed(line, signer, {_CONTENT_TYPE: CONTENT_TYPE, **_claims(issuer, subject)}))


def make_receipt(leaves: Sequence[bytes], index: int, signer: Signer, issuer: str, subject: str) -> bytes:
    """Return the receipt of a line: the log's signature over the root, and the path to it, in CBOR.

    Args:
        leaves: Hashes of all lines, see :func:`~myosotis.ledger.merkle.leaf_hash`. At least two, since the path of a
            receipt is not empty.
        index: Index of the line.
        signer: Signer of the log, with an Ed25519 key.
        issuer: Name of the log.
        subject: What the line is about.

    Raises:
        MissingExtraError: The package for CBOR is not installed.
    """
    require("scitt", "a receipt")
    import cbor2

    if not 0 <= index < len(leaves) or len(leaves) < 2:
        raise ValueError(f"a receipt is of one of at least two lines, got index {index} of {len(leaves)} lines")
    root, paths = inclusion_paths(leaves)
    proof = cbor2.dumps([len(leaves), index, paths[index]])
    signed = _signed(root, signer, {_STRUCTURE: _RFC9162_SHA256, **_claims(issuer, subject)})
    # Without the root in it, so that a verifier has to compute it.
    return _encoded(signed._replace(unprotected={_PROOFS: {_INCLUSION: [proof]}}, payload=None))


def with_receipts(statement: bytes, receipts: Sequence[bytes]) -> bytes:
    """Return a signed statement with receipts, which replace those that it has: a transparent statement.

    Raises:
        EnvelopeError: The statement is damaged.
    """
    require("scitt", "a receipt")
    if not receipts:
        raise ValueError("a transparent statement has at least one receipt")
    return _encoded(_parsed(statement)._replace(unprotected={_RECEIPTS: list(receipts)}))


def verify_statement(content: bytes, issuers: Iterable[SSlibKey], logs: Iterable[SSlibKey]) -> list[Registered]:
    """Verify a transparent statement, and return what each receipt of a trusted log shows.

    Receipts of unknown keys and of other kinds of trees are ignored. One wrong receipt of a trusted key refuses the
    statement.

    Args:
        content: The statement.
        issuers: Keys, one of which must have signed the statement.
        logs: Keys of logs that are trusted.

    Raises:
        EnvelopeError: It is damaged, signed by none of the keys, or has no receipt of a trusted log.
        MissingExtraError: The package for CBOR is not installed.
    """
    require("scitt", "verifying a receipt")
    message = _parsed(content)
    line = message.payload
    if line is None:
        raise EnvelopeError("has no payload")
    _verify(message, _by_id(issuers), line)
    if message.header.get(_CONTENT_TYPE) != CONTENT_TYPE:
        raise EnvelopeError(f"is a statement of type {message.header.get(_CONTENT_TYPE)!r}, expected {CONTENT_TYPE}")
    issuer, subject = _names(message)
    receipts = _items(message.unprotected.get(_RECEIPTS))
    trusted = _by_id(logs)
    registered = [
        Registered(line, issuer, subject, log, index, size)
        for receipt in receipts
        for log, index, size in _registrations(_parsed(receipt), line, trusted)
    ]
    if not registered:
        raise EnvelopeError("has no receipt of a trusted log")
    return registered


def _registrations(receipt: _Message, line: bytes, trusted: Mapping[bytes, bytes]) -> list[tuple[str, int, int]]:
    """Log, index and size of each proof of a receipt; none where its key or its kind of tree is unknown."""
    if receipt.header.get(_KEY_ID) not in trusted or receipt.header.get(_STRUCTURE) != _RFC9162_SHA256:
        return []
    if receipt.payload is not None:
        raise EnvelopeError("a receipt has a payload, which should be left out")
    registrations = []
    for index, size, path in _inclusion_proofs(receipt):
        try:
            root = root_of_path(leaf_hash(line), index, size, path)
        except ValueError as error:
            raise EnvelopeError(f"a receipt does not hold: {error}") from None
        _verify(receipt, trusted, root)
        registrations.append((_names(receipt)[0], index, size))
    return registrations


def _inclusion_proofs(receipt: _Message) -> list[tuple[int, int, list[bytes]]]:
    """Index, size and path of each inclusion proof of a receipt."""
    proofs = receipt.unprotected.get(_PROOFS)
    encoded = _items(proofs.get(_INCLUSION) if isinstance(proofs, Mapping) else None)
    if not encoded:
        raise EnvelopeError("a receipt has no inclusion proof")
    parsed = []
    for one in encoded:
        match _decoded(one):
            case [int(size), int(index), [*path]] if len(path) <= _MAX_PATH and all(map(_is_hash, path)):
                parsed.append((int(index), int(size), path))
            case _:
                raise EnvelopeError("the inclusion proof of a receipt is damaged")
    return parsed


def _items(content: Any) -> Sequence[Any]:
    """The items of an array of CBOR, which is a list or a tuple; none of anything else."""
    return content if isinstance(content, list | tuple) else ()


def _is_hash(part: Any) -> bool:
    return isinstance(part, bytes) and len(part) == 32


def _claims(issuer: str, subject: str) -> dict[int, Any]:
    if not issuer or not subject:
        raise ValueError("a statement names its issuer and its subject")
    return {_CLAIMS: {_ISSUER: issuer, _SUBJECT: subject}}


def _names(message: _Message) -> tuple[str, str]:
    """Issuer and subject."""
    match message.header.get(_CLAIMS):
        case {1: str(issuer), 2: str(subject)}:
            return issuer, subject
    raise EnvelopeError("does not name its issuer and its subject")


def _signed(payload: bytes, signer: Signer, header: Mapping[int, Any]) -> _Message:
    import cbor2

    public: SSlibKey = signer.public_key  # type: ignore[assignment]
    content = {_ALGORITHM: _EDDSA, _KEY_ID: _key_id(_raw(public)), **header}
    protected = cbor2.dumps(dict(sorted(content.items())))
    signature = bytes.fromhex(signer.sign(_to_be_signed(protected, payload)).signature)
    return _Message(protected, content, {}, payload, signature)


def _verify(message: _Message, keys: Mapping[bytes, bytes], payload: bytes) -> None:
    """Raise ``EnvelopeError`` unless one of the keys signed a message with a payload."""
    if message.header.get(_ALGORITHM) not in (_EDDSA, _ED25519):
        raise EnvelopeError("is not signed with Ed25519")
    if _CRITICAL in message.header:
        raise EnvelopeError("has a critical header, which is not understood here")
    public = keys.get(message.header.get(_KEY_ID, b""))
    if public is None:
        raise EnvelopeError("is signed by none of the given keys")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(message.signature, _to_be_signed(message.protected, payload))
    except (InvalidSignature, ValueError):
        raise EnvelopeError("its signature does not hold") from None


def _to_be_signed(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052, section 4.4."""
    import cbor2

    content: bytes = cbor2.dumps(["Signature1", protected, b"", payload])
    return content


def _encoded(message: _Message) -> bytes:
    import cbor2

    parts = [message.protected, message.unprotected, message.payload, message.signature]
    content: bytes = cbor2.dumps(cbor2.CBORTag(_SIGN1, parts))
    return content


def _parsed(content: bytes) -> _Message:
    """A message whose signature is not verified."""
    import cbor2

    value = _decoded(content)
    match value.value if isinstance(value, cbor2.CBORTag) and value.tag == _SIGN1 else None:
        case [bytes(protected), {**unprotected}, (bytes() | None) as payload, bytes(signature)]:
            header = _decoded(protected)
            if isinstance(header, dict) and isinstance(header.get(_KEY_ID), bytes):
                return _Message(protected, header, unprotected, payload, signature)
    raise EnvelopeError("is not a signed statement or receipt, or damaged")


def _decoded(content: Any) -> Any:
    import cbor2

    if not isinstance(content, bytes):
        raise EnvelopeError("is not CBOR")
    stream = BytesIO(content)
    try:
        value = cbor2.load(stream)
    except Exception:  # its decoder meets bytes of strangers, and lets many kinds through
        raise EnvelopeError("is not CBOR, or damaged") from None
    if stream.read(1):
        raise EnvelopeError("has bytes after its end")
    return value


def _by_id(keys: Iterable[SSlibKey]) -> dict[bytes, bytes]:
    """Public keys by their identifiers."""
    return {_key_id(raw): raw for raw in map(_raw, keys)}


def _raw(key: SSlibKey) -> bytes:
    if key.keytype != "ed25519":
        raise ValueError(f"statements are signed with Ed25519 here, got a key of type {key.keytype}")
    return bytes.fromhex(key.keyval["public"])


def _key_id(raw: bytes) -> bytes:
    """The thumbprint of a key by RFC 9679: SHA-256 of its COSE_Key in deterministic CBOR."""
    import cbor2

    return hashlib.sha256(cbor2.dumps({1: 1, -1: 6, -2: raw})).digest()
