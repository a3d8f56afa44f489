"""A witness of logs (https://c2sp.org/tlog-witness): cosigns a checkpoint only if it continues the newest one it knows.

A log sends the size of the checkpoint that the witness cosigned last, a consistency proof from there, and its new
checkpoint. The witness answers with its cosignature, after the new checkpoint is on its disk: whatever happens later,
it never cosigns a shorter log, nor another one of the same length. Nothing here uses a network. Request and answer are
the bodies of ``add-checkpoint``, so that other witnesses understand them too; :class:`RefusedError` has the status.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import Signer

from myosotis.engine.errors import InputError
from myosotis.engine.files import flush, read_json, write_json
from myosotis.ledger.checkpoints import Checkpoint, cosign
from myosotis.ledger.merkle import Frontier, check_consistency
from myosotis.ledger.notes import (
    COSIGNATURE,
    MAX_BYTES,
    Note,
    NoteError,
    NoteKey,
    decode_base64,
    encode_base64,
    key_of,
    parse_size,
    verified_signatures,
)

MAX_PROOF = 63
"""Hashes of a consistency proof, at most."""


class RefusedError(ValueError):
    """A witness does not cosign a checkpoint.

    Attributes:
        status: HTTP status of the answer: 400, 403, 404, 409 or 422.
        size: Size of the newest checkpoint that it cosigned, where the status is 409.
    """

    def __init__(self, status: int, reason: str, size: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.size = status, size


@dataclass(frozen=True)
class Request:
    """A request to cosign a checkpoint.

    Attributes:
        old_size: Size of the checkpoint that the witness cosigned last; 0 if none.
        proof: Consistency proof from there, see :func:`~myosotis.ledger.merkle.consistency_proof`.
        checkpoint: The signed checkpoint.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def __bytes__(self) -> bytes:
        lines = (f"old {self.old_size}", *map(encode_base64, self.proof), "", "")
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, content: bytes) -> "Request":
        """Return a request; its checkpoint is not verified.

        Raises:
            NoteError: It is malformed.
        """
        if len(content) > MAX_BYTES:
            raise NoteError(f"a request has at most {MAX_BYTES} bytes, got {len(content)}")
        head, separator, checkpoint = content.partition(b"\n\n")
        try:
            old, *hashes = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise NoteError("the lines before the checkpoint of a request are ASCII text") from None
        if not separator or not old.startswith("old "):
            raise NoteError("a request begins with 'old SIZE' and has an empty line before its checkpoint")
        proof = tuple(map(decode_base64, hashes))
        if len(proof) > MAX_PROOF or any(len(one) != 32 for one in proof):
            raise NoteError(f"a consistency proof has at most {MAX_PROOF} hashes of 32 bytes")
        return cls(parse_size(old.removeprefix("old ")), proof, checkpoint)


class Witness:
    """A witness whose state is a file: the newest checkpoint of each log that it cosigned.

    Threads and processes can use one file at the same time: each request is checked and stored under a lock.

    Args:
        path: The file, which the first checkpoint creates. A witness that loses it needs a new key, since it could
            cosign a fork of what it cosigned before.
        signer: Signer with an Ed25519 key that signs nothing else.
        name: Name of the witness.
        logs: Keys of each log that it knows, by the log's origin.

    Raises:
        InputError: The folder of the file does not exist.
    """

    def __init__(self, path: Path, signer: Signer, name: str, logs: Mapping[str, Sequence[NoteKey]]) -> None:
        self.path, self.logs = path.resolve(), dict(logs)
        self.key = key_of(signer, name, COSIGNATURE)
        self._signer = signer
        if not self.path.parent.is_dir():
            raise InputError(f"{self.path.parent}: no such folder for the state of a witness")

    def newest(self, origin: str) -> bytes | None:
        """Return the newest checkpoint of a log that it cosigned, with both signatures; None if there is none.

        Raises:
            InputError: The file is damaged.
        """
        return self._read().get(origin)

    def add_checkpoint(self, content: bytes, time: int) -> bytes:
        """Return the line with the cosignature on the checkpoint of a request.

        Args:
            content: The request, see :class:`Request`.
            time: POSIX seconds of now.

        Raises:
            RefusedError: The checkpoint does not continue the newest one, is not signed by a known log, or malformed.
            InputError: The file is damaged. Nothing is cosigned then.
        """
        try:
            request = Request.parse(content)
            note = Note.parse(request.checkpoint)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise RefusedError(400, str(error)) from None
        if checkpoint.origin not in self.logs:
            raise RefusedError(404, f"the log {checkpoint.origin!r} is not known here")
        try:
            signatures = verified_signatures(note, self.logs[checkpoint.origin])
        except NoteError as error:
            raise RefusedError(403, str(error)) from None
        if not signatures:
            raise RefusedError(403, f"the checkpoint is not signed by a known key of the log {checkpoint.origin!r}")
        if request.old_size > checkpoint.size:
            raise RefusedError(400, f"the old size {request.old_size} is above the checkpoint's, {checkpoint.size}")
        with self._locked():
            notes = self._read()
            self._check(request, checkpoint, notes.get(checkpoint.origin))
            signature = cosign(request.checkpoint, self._signer, self.key.name, time)
            of_log = {one.key: one.signature for one in signatures}  # one for each key, however often a client sends it
            cosigned = bytes(Note(note.text, (*of_log.values(), signature)))
            if len(cosigned) > MAX_BYTES:
                raise RefusedError(400, f"the cosigned checkpoint has more than {MAX_BYTES} bytes")
            self._write({**notes, checkpoint.origin: cosigned})
        return str(signature).encode()

    @staticmethod
    def _check(request: Request, checkpoint: Checkpoint, newest: bytes | None) -> None:
        """Raise ``RefusedError`` unless a checkpoint continues the newest one."""
        known = None if newest is None else Checkpoint.parse(Note.parse(newest).text)
        size = 0 if known is None else known.size
        if request.old_size != size:
            raise RefusedError(409, f"the newest checkpoint here has size {size}, not {request.old_size}", size)
        old_root = known.root if known is not None else Frontier().root()
        try:
            check_consistency(size, old_root, checkpoint.size, checkpoint.root, request.proof)
        except ValueError as error:
            raise RefusedError(422, f"the checkpoint does not continue the one of size {size}: {error}") from None

    def _read(self) -> dict[str, bytes]:
        if not self.path.exists():
            return {}
        content = read_json(self.path)
        try:
            notes = {str(origin): note.encode() for origin, note in content["checkpoints"].items()}
            origins = [Checkpoint.parse(Note.parse(note).text).origin for note in notes.values()]
        except (KeyError, TypeError, AttributeError, ValueError):
            raise InputError(f"{self.path}: is not the state of a witness, or damaged") from None
        if origins != list(notes):
            raise InputError(f"{self.path}: has the checkpoint of one log under the name of another")
        return notes

    def _write(self, notes: Mapping[str, bytes]) -> None:
        write_json(self.path, {"checkpoints": {origin: note.decode() for origin, note in notes.items()}})
        flush(self.path.parent)  # a crash must not bring the old file back once the cosignature is out

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Exclude other processes and threads: a lock of the open file, not of the process."""
        with self.path.with_name(f".{self.path.name}.lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield
