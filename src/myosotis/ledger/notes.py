"""Signed notes (https://c2sp.org/signed-note): text with a line for each signature, as transparency logs use them.

A note is its text, an empty line, and the signatures. A key of a note is a public key together with a name and a type
of signature; its identifier follows from all three. Signatures of unknown keys are ignored, and one wrong signature of
a known key refuses the note.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Signer, SSlibKey

ED25519: Final = 0x01
"""Type of a signature over the text of a note."""
COSIGNATURE: Final = 0x04
"""Type of a signature of a witness, over a checkpoint and a time."""

MAX_BYTES = 1 << 20
MAX_SIGNATURES = 100
"""Limits of a note that is read; the specification asks for 16 signatures at least."""

_MAX_INTEGER = 2**63 - 1


class NoteError(ValueError):
    """A note that is malformed, or not signed by the keys it should be."""


@dataclass(frozen=True)
class NoteKey:
    """A public Ed25519 key whose signatures on notes are trusted.

    Attributes:
        name: Name in the lines of its signatures, without spaces and ``+``; a URL without its scheme, by custom.
        public: The 32 bytes of the public key.
        kind: Type of its signatures: :data:`ED25519`, or :data:`COSIGNATURE` for a witness.

    Example:
        >>> key = NoteKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
        >>> key.name, key.kind, str(key).endswith("KaANYcrnKv3U2k")
        ('example.com/foo', 1, True)
    """

    name: str
    public: bytes
    kind: Literal[1, 4] = ED25519

    def __post_init__(self) -> None:
        check_name(self.name)
        if len(self.public) != 32:
            raise NoteError(f"an Ed25519 key has 32 bytes, got {len(self.public)}")

    @classmethod
    def of(cls, key: SSlibKey, name: str, kind: Literal[1, 4] = ED25519) -> "NoteKey":
        """Return a public key of a ledger as the key of a note."""
        if key.keytype != "ed25519":
            raise NoteError(f"notes are signed with Ed25519 here, got a key of type {key.keytype}")
        return cls(name, bytes.fromhex(key.keyval["public"]), kind)

    @classmethod
    def parse(cls, text: str) -> "NoteKey":
        """Return the key of a verifier key in text, as witnesses publish it: NAME+IDENTIFIER+KEY.

        Raises:
            NoteError: It is malformed, of an unknown type, or its identifier is not that of the key.
        """
        name, _, rest = text.partition("+")
        identifier, _, encoded = rest.partition("+")
        content = decode_base64(encoded)
        if len(content) != 33 or content[0] not in (ED25519, COSIGNATURE):
            raise NoteError(f"the verifier key of {name!r} is not an Ed25519 key (type 1) or cosignature key (type 4)")
        key = cls(name, content[1:], ED25519 if content[0] == ED25519 else COSIGNATURE)
        if identifier != key.identifier.hex():
            raise NoteError(
                f"the verifier key of {name!r} has identifier {identifier!r}, expected {key.identifier.hex()}"
            )
        return key

    @property
    def identifier(self) -> bytes:
        """The four bytes that begin its signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.identifier.hex()}+{encode_base64(bytes([self.kind]) + self.public)}"


@dataclass(frozen=True)
class NoteSignature:
    """A signature of a note.

    Attributes:
        name: Name of the key.
        identifier: Identifier of the key, four bytes.
        content: The signature; that of a witness begins with eight bytes of its time.
    """

    name: str
    identifier: bytes
    content: bytes

    def __str__(self) -> str:
        return f"— {self.name} {encode_base64(self.identifier + self.content)}\n"

    def verify(self, key: NoteKey, text: str) -> int | None:
        """Verify a key's signature of a text, and return its time: POSIX seconds of a cosignature, None for others.

        Raises:
            NoteError: It is not the key's signature of the text.
        """
        message, signature, time = text.encode(), self.content, None
        if key.kind == COSIGNATURE:
            time, signature = int.from_bytes(self.content[:8], "big"), self.content[8:]
            if time > _MAX_INTEGER:
                raise NoteError(f"the cosignature of {self.name} has a time above 2^63 - 1")
            message = cosigned_message(text, time)
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise NoteError(f"the signature of {self.name} does not match the note") from None
        return time


class Verified(NamedTuple):
    """A signature that a known key made, and its time, see :meth:`NoteSignature.verify`."""

    key: NoteKey
    signature: NoteSignature
    time: int | None


@dataclass(frozen=True)
class Note:
    """A text and its signatures.

    Attributes:
        text: The text, which ends with a newline.
        signatures: The signatures, at least one.
    """

    text: str
    signatures: tuple[NoteSignature, ...]

    def __bytes__(self) -> bytes:
        return f"{self.text}\n{''.join(map(str, self.signatures))}".encode()

    @classmethod
    def parse(cls, content: bytes) -> "Note":
        """Return a note; its signatures are not verified.

        Raises:
            NoteError: It is malformed.
        """
        if len(content) > MAX_BYTES:
            raise NoteError(f"a note has at most {MAX_BYTES} bytes, got {len(content)}")
        text, separator, lines = _decoded(content).rpartition("\n\n")
        if not separator:
            raise NoteError("a note has an empty line before its signatures")
        return cls(text + "\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Return the signatures of lines of a note, or of a witness's answer.

    Raises:
        NoteError: A line is malformed, there is none, or there are too many.
    """
    if not lines.endswith("\n"):
        raise NoteError("a note ends with a newline after its last signature")
    split = lines.removesuffix("\n").split("\n")
    if len(split) > MAX_SIGNATURES:
        raise NoteError(f"a note has at most {MAX_SIGNATURES} signatures, got {len(split)}")
    return tuple(_parsed(line) for line in split)


def verify_note(note: Note, keys: Iterable[NoteKey]) -> list[NoteKey]:
    """Return those of the keys that signed a note, each one once.

    Raises:
        NoteError: None of them signed it, a signature of one of them is wrong, or two have one name and identifier.
    """
    signed = list(dict.fromkeys(one.key for one in verified_signatures(note, keys)))
    if not signed:
        signers = ", ".join(sorted({signature.name for signature in note.signatures}))
        raise NoteError(f"the note is signed by {signers}, by none of the trusted keys")
    return signed


def verified_signatures(note: Note, keys: Iterable[NoteKey]) -> list[Verified]:
    """Return the signatures of known keys in the order of the note; others are ignored.

    Raises:
        NoteError: A signature of a known key is wrong, or two keys have one name and identifier.
    """
    known: dict[tuple[str, bytes], NoteKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.identifier), key) != key:
            raise NoteError(f"two different keys are named {key.name} and have identifier {key.identifier.hex()}")
    verified = []
    for signature in note.signatures:
        match = known.get((signature.name, signature.identifier))
        if match is not None:
            verified.append(Verified(match, signature, signature.verify(match, note.text)))
    return verified


def sign_note(text: str, signer: Signer, name: str) -> Note:
    """Return a note with one signature.

    Args:
        text: The text, which ends with a newline.
        signer: Signer with an Ed25519 key.
        name: Name of its key.

    Raises:
        NoteError: The text or the name cannot be that of a note.
    """
    if not text.endswith("\n"):
        raise NoteError("the text of a note ends with a newline")
    content = text.encode(errors="surrogatepass")
    _decoded(content)
    key = key_of(signer, name)
    return Note(text, (NoteSignature(name, key.identifier, bytes.fromhex(signer.sign(content).signature)),))


def key_of(signer: Signer, name: str, kind: Literal[1, 4] = ED25519) -> NoteKey:
    """Return the key of a signer's signatures."""
    public: SSlibKey = signer.public_key  # type: ignore[assignment]
    return NoteKey.of(public, name, kind)


def cosigned_message(text: str, time: int) -> bytes:
    """Return what a witness signs (https://c2sp.org/tlog-cosignature, Ed25519): a header, the time, the text.

    Args:
        text: Text of a checkpoint.
        time: POSIX seconds.
    """
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def check_name(name: str) -> None:
    """Raise ``NoteError`` if a key of a note cannot have a name."""
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteError(f"the name of a key is not empty and has no spaces, control characters and '+', got {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise NoteError(f"the name of a key is Unicode text, got {name!r}") from None


def encode_base64(content: bytes) -> str:
    """Return bytes as base64 (RFC 4648, section 4)."""
    return base64.b64encode(content).decode()


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 that is written in the one canonical way.

    Raises:
        NoteError: It is not.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        content = None
    if content is None or encode_base64(content) != text:  # bits after the last byte would give it a second spelling
        raise NoteError(f"expected base64 in its canonical form, got {text[:80]!r}")
    return content


def parse_size(text: str) -> int:
    """Return the number of leaves of a tree, in ASCII digits without leading zeros.

    Raises:
        NoteError: It is not such a number, or larger than 2^63 - 1.
    """
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text) or int(text) > _MAX_INTEGER:
        raise NoteError(f"the size of a tree is a decimal number below 2^63 without leading zeros, got {text[:80]!r}")
    return int(text)


def _decoded(content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise NoteError("a note is text in UTF-8") from None
    if any(byte < 0x20 and byte != 0x0A for byte in content):
        raise NoteError("a note has no control characters other than newlines")
    return text


def _parsed(line: str) -> NoteSignature:
    parts: Sequence[str] = line.split(" ")
    if len(parts) != 3 or parts[0] != "—":
        raise NoteError(f"a line of a signature is '— NAME BASE64', got {line[:80]!r}")
    check_name(parts[1])
    content = decode_base64(parts[2])
    if len(content) < 5:
        raise NoteError(f"a signature begins with an identifier of four bytes, got {len(content)} bytes in all")
    return NoteSignature(parts[1], content[:4], content[4:])
