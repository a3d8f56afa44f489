"""Checkpoints of a log, and the cosignatures of witnesses on them (https://c2sp.org/tlog-checkpoint, tlog-cosignature).

A checkpoint is a signed note that says how many entries a log has, and the root of its Merkle tree. Somebody who shows
two readers different logs has to sign two checkpoints that are not consistent; a witness cosigns only one of them. A
reader asks for the cosignatures of several witnesses whom the operator does not control::

    note = sign_checkpoint(Checkpoint("example.com/log", frontier.size, frontier.root()), signer)
    note = add_cosignatures(note, answer_of_the_witness, [witness])
    checkpoint, times = verify_checkpoint(note, "example.com/log", [log], [witness, other])
    assert len(times) >= 2

Cosignatures are those with Ed25519; the specification prefers ML-DSA-44, which no Ed25519 key can make.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from securesystemslib.signer import Signer

from myosotis.ledger.notes import (
    COSIGNATURE,
    Note,
    NoteError,
    NoteKey,
    NoteSignature,
    cosigned_message,
    decode_base64,
    encode_base64,
    key_of,
    parse_signatures,
    parse_size,
    sign_note,
    verified_signatures,
    verify_note,
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of a log.

    Attributes:
        origin: Name of the log; a URL without its scheme, by custom.
        size: Number of entries.
        root: Root of the Merkle tree over them, see :func:`~myosotis.ledger.merkle.merkle_root`.
        extensions: Further lines, whose meaning is the log's own; the specification advises against them.

    Example:
        >>> from myosotis.ledger.merkle import merkle_root
        >>> checkpoint = Checkpoint("example.com/log", 1, merkle_root([b"a"]))
        >>> print(checkpoint.text(), end="")
        example.com/log
        1
        Aippeebat6pa5MPl5F9+l3ESp+Y1k4INvsHsc4ok+Tw=
        >>> Checkpoint.parse(checkpoint.text()) == checkpoint
        True
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if not all(lines) or any(character < " " for line in lines for character in line):
            raise NoteError(
                "the origin and the further lines of a checkpoint are not empty and have no control characters"
            )
        if not 0 <= self.size < 2**63:
            raise NoteError(f"the size of a tree is a number from 0 to 2^63 - 1, got {self.size}")
        if len(self.root) != 32:
            raise NoteError(f"the root of a checkpoint has 32 bytes, got {len(self.root)}")

    def text(self) -> str:
        """Return it as the text of a note."""
        return "\n".join((self.origin, str(self.size), encode_base64(self.root), *self.extensions, ""))

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Return the checkpoint of the text of a note.

        Raises:
            NoteError: It is malformed.
        """
        if not text.endswith("\n"):
            raise NoteError("the text of a checkpoint ends with a newline")
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3:
            raise NoteError(f"a checkpoint has an origin, a size and a root on three lines, got {len(lines)} lines")
        return cls(lines[0], parse_size(lines[1]), decode_base64(lines[2]), tuple(lines[3:]))


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer, name: str | None = None) -> bytes:
    """Return a checkpoint as a note that the log signed.

    Args:
        checkpoint: The checkpoint.
        signer: Signer of the log.
        name: Name of its key; the origin unless given, as the specification advises.
    """
    return bytes(sign_note(checkpoint.text(), signer, checkpoint.origin if name is None else name))


def cosign(note: bytes, signer: Signer, name: str, time: int) -> NoteSignature:
    """Return the cosignature of a witness on a checkpoint.

    A witness first checks that the checkpoint continues those it cosigned before, see :mod:`myosotis.ledger.witness`.

    Args:
        note: The signed checkpoint.
        signer: Signer of the witness.
        name: Name of its key.
        time: POSIX seconds, from 1.

    Raises:
        NoteError: It is not a checkpoint, or the time is out of range.
    """
    if not 0 < time < 2**63:
        raise NoteError(f"the time of a cosignature is in seconds from 1 to 2^63 - 1, got {time}")
    text = Note.parse(note).text
    Checkpoint.parse(text)
    key = key_of(signer, name, COSIGNATURE)
    signature = bytes.fromhex(signer.sign(cosigned_message(text, time)).signature)
    return NoteSignature(name, key.identifier, time.to_bytes(8, "big") + signature)


def verify_cosignatures(note: bytes, witnesses: Iterable[NoteKey]) -> dict[NoteKey, int]:
    """Return when each witness cosigned a checkpoint: POSIX seconds by its key, the newest time if there are several.

    A public key counts once, even where two of the keys have it under two names.

    Args:
        note: The signed checkpoint.
        witnesses: Keys of witnesses that are trusted.

    Raises:
        NoteError: It is not a checkpoint, or a cosignature of one of them is wrong.
    """
    parsed = Note.parse(note)
    Checkpoint.parse(parsed.text)
    first: dict[bytes, NoteKey] = {}
    times: dict[NoteKey, int] = {}
    for key, _, time in verified_signatures(parsed, _cosigners(witnesses)):
        counted = first.setdefault(key.public, key)
        times[counted] = max(time or 0, times.get(counted, 0))
    return times


def verify_checkpoint(
    note: bytes, origin: str, log: Sequence[NoteKey], witnesses: Sequence[NoteKey] = ()
) -> tuple[Checkpoint, dict[NoteKey, int]]:
    """Return a checkpoint that its log signed, and when witnesses cosigned it, see :func:`verify_cosignatures`.

    Args:
        note: The signed checkpoint.
        origin: Name of the log.
        log: Keys of the log, one of which must have signed it.
        witnesses: Keys of witnesses that are trusted. How many of them are enough is for the caller to decide.

    Raises:
        NoteError: It is malformed, of another log, not signed by the log, a known signature is wrong, or the log is
            its own witness.
    """
    parsed = Note.parse(note)
    checkpoint = Checkpoint.parse(parsed.text)
    if checkpoint.origin != origin:
        raise NoteError(f"the checkpoint is of the log {checkpoint.origin!r}, expected {origin!r}")
    verify_note(parsed, log)
    own = {key.public for key in log}
    for witness in witnesses:
        if witness.public in own:
            raise NoteError(
                f"the witness {witness.name} has the key of the log, so it shows nothing that the log does not"
            )
    return checkpoint, verify_cosignatures(note, witnesses)


def add_cosignatures(note: bytes, answer: bytes, witnesses: Iterable[NoteKey]) -> bytes:
    """Return a checkpoint with the cosignatures that witnesses sent; lines of unknown keys are left out.

    Args:
        note: The signed checkpoint.
        answer: Lines of signatures, as a witness answers.
        witnesses: Keys of witnesses that are trusted.

    Raises:
        NoteError: Something is malformed, a known signature is wrong, or none of the lines is from a known key.
    """
    parsed = Note.parse(note)
    Checkpoint.parse(parsed.text)
    try:
        lines = answer.decode()
    except UnicodeDecodeError:
        raise NoteError("the answer of a witness is text in UTF-8") from None
    received = Note(parsed.text, parse_signatures(lines))
    verified = {one.key: one.signature for one in verified_signatures(received, _cosigners(witnesses))}
    if not verified:
        raise NoteError("the answer has no cosignature of a trusted witness")
    replaced = {(key.name, key.identifier) for key in verified}
    others = [one for one in parsed.signatures if (one.name, one.identifier) not in replaced]
    return bytes(Note(parsed.text, (*others, *verified.values())))


def _cosigners(witnesses: Iterable[NoteKey]) -> list[NoteKey]:
    keys = list(witnesses)
    for key in keys:
        if key.kind != COSIGNATURE:
            raise NoteError(f"the key {key.name} is not of a witness: its type is {key.kind}, expected {COSIGNATURE}")
    return keys
