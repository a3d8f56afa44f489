"""Checkpoints of a ledger, for witnesses who have never seen a line of it.

An operator can show two people two ledgers, or yesterday's to one who has not seen today's. A witness makes that need
its help: it cosigns a checkpoint only if it continues the newest one that it has cosigned. The checkpoint lies in the
ledger as ``checkpoint``, a signed note of C2SP with the cosignatures that came back::

    write_checkpoint(ledger, signer)
    add_answer(ledger, answer_of_a_witness)      # made from request_of(ledger, lines_that_it_cosigned)
    check_witnesses(path, head, operators, witnesses, quorum=2)
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Signer, SSlibKey

from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text
from myosotis.engine.result import rfc3339
from myosotis.ledger.checkpoints import (
    Checkpoint,
    add_cosignatures,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignatures,
)
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.heads import Head
from myosotis.ledger.merkle import consistency_proof, leaf_hash
from myosotis.ledger.notes import COSIGNATURE, Note, NoteError, NoteKey
from myosotis.ledger.store import Ledger
from myosotis.ledger.witness import RefusedError, Request, Witness

CHECKPOINT = "checkpoint"
"""The file of a ledger with its newest checkpoint."""


def origin_of(ledger: str) -> str:
    """Return the name of a ledger among logs.

    Args:
        ledger: Its identifier.
    """
    return f"myosotis/{ledger}"


def write_checkpoint(ledger: Ledger, signer: Signer) -> int:
    """Sign a checkpoint of all lines of a ledger, which replaces the one before; returns the number of lines.

    Raises:
        InputError: The signer is not an operator.
    """
    holder = ledger.holder(signer)
    if holder.role != "operator":
        raise InputError(f"{ledger.path}: an operator signs checkpoints, and '{holder.name}' is of role {holder.role}")
    head = ledger.head()
    note = sign_checkpoint(Checkpoint(origin_of(head.ledger), head.size, head.frontier.root()), signer)
    write_text(ledger.path / CHECKPOINT, note.decode())
    return head.size


def request_of(ledger: Ledger, old_size: int) -> bytes:
    """Return what a witness is asked: the checkpoint, and a proof that it continues an older one (C2SP tlog-witness).

    Args:
        ledger: The ledger, which has a checkpoint.
        old_size: Lines that the witness has cosigned; 0 if none.

    Raises:
        InputError: There are fewer lines, or no checkpoint.
    """
    note = _read(ledger.path)
    size = Checkpoint.parse(Note.parse(note).text).size
    if old_size > size:
        raise InputError(f"{ledger.path}: the checkpoint is of {size} lines, so no witness has cosigned {old_size}")
    leaves = [leaf_hash(line) for line, _ in zip(ledger.lines(), range(size), strict=False)]
    return bytes(Request(old_size, tuple(consistency_proof(leaves, old_size)), note))


def add_answer(ledger: Ledger, answer: Path) -> list[tuple[str, str]]:
    """Add the cosignatures of an answer to the checkpoint, and return names and times of its witnesses.

    Args:
        ledger: The ledger.
        answer: File of the answer, whose witnesses have that role in the ledger.

    Raises:
        InputError: A file is missing or damaged, or no witness of the ledger has made it.
    """
    if not answer.is_file():
        raise InputError(f"{answer}: no such file of an answer")
    roles = ledger.head().roles
    publics = [key for key in ledger.keys if key.keyid in roles and roles[key.keyid].role == "witness"]
    content = answer.read_bytes()
    try:
        names = {line.split(" ")[1] for line in content.decode("utf-8", "replace").splitlines() if line.count(" ") == 2}
        keys = [NoteKey.of(public, name, COSIGNATURE) for public in publics for name in names]
        note = add_cosignatures(_read(ledger.path), content, keys)
        times = verify_cosignatures(note, keys)
    except NoteError as error:
        raise InputError(f"{answer}: {error}") from None
    write_text(ledger.path / CHECKPOINT, note.decode())
    return [(key.name, _time(seconds)) for key, seconds in times.items()]


def cosigned(
    request: bytes, operators: Sequence[SSlibKey], signer: Signer, name: str, state: Path
) -> tuple[bytes, int]:
    """Return a witness's answer to a request, and how many lines it has cosigned.

    Args:
        request: The request, see :func:`request_of`.
        operators: Keys of the ledger's operators.
        signer: Signer of the witness, which signs nothing else.
        name: Name of the witness.
        state: File with what it has cosigned.

    Raises:
        InputError: The request does not continue what it has cosigned, is not signed by an operator, or malformed.
    """
    try:
        checkpoint = Checkpoint.parse(Note.parse(Request.parse(request).checkpoint).text)
        keys = [NoteKey.of(key, checkpoint.origin) for key in operators]
        witness = Witness(state, signer, name, {checkpoint.origin: keys})
        return witness.add_checkpoint(request, int(time.time())), checkpoint.size
    except (NoteError, RefusedError) as error:
        raise InputError(f"not cosigned: {error}") from None


def check_witnesses(
    path: Path,
    head: Head,
    root_of: Callable[[int], bytes],
    operators: Sequence[SSlibKey],
    witnesses: Sequence[SSlibKey],
    quorum: int,
) -> str:
    """Return what the checkpoint of a ledger shows.

    Args:
        path: The ledger.
        head: Its head, which has been checked.
        root_of: Merkle root over the first lines, by their number.
        operators: Keys, one of which must have signed the checkpoint.
        witnesses: Keys of witnesses that are trusted; none if nobody asks for cosignatures.
        quorum: How many of them must have cosigned a checkpoint of all lines.

    Raises:
        EnvelopeError: There is no checkpoint, it does not hold, or witnesses are missing.
    """
    file = path / CHECKPOINT
    if not file.is_file() or file.is_symlink():
        raise EnvelopeError(f"the ledger has no {CHECKPOINT}, so no witness has cosigned it")
    origin = origin_of(head.ledger)
    try:
        content = file.read_bytes()
        note = Note.parse(content)
        cosigners = [NoteKey.of(key, name, COSIGNATURE) for key in witnesses for name in _names(note)]
        log = [NoteKey.of(key, origin) for key in operators]
        checkpoint, times = verify_checkpoint(content, origin, log, cosigners)
    except NoteError as error:
        raise EnvelopeError(f"{CHECKPOINT}: {error}") from None
    if checkpoint.size > head.size or checkpoint.root != root_of(checkpoint.size):
        raise EnvelopeError(f"{CHECKPOINT}: is not of the first {checkpoint.size} lines")
    if not witnesses:
        return f"a checkpoint of {checkpoint.size} lines; no witness was named"
    if checkpoint.size != head.size:
        raise EnvelopeError(f"{CHECKPOINT}: is of {checkpoint.size} lines, the ledger has {head.size}")
    if len(times) < quorum:
        raise EnvelopeError(
            f"{CHECKPOINT}: {len(times)} of the named witnesses have cosigned it, {quorum} are asked for"
        )
    by = ", ".join(f"{key.name} on {_time(seconds)}" for key, seconds in times.items())
    return f"{checkpoint.size} lines, cosigned by {by}"


def _time(seconds: int) -> str:
    try:
        return rfc3339(datetime.fromtimestamp(seconds, UTC))
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"


def _names(note: Note) -> set[str]:
    """Names that signatures of a note give themselves: a witness is known by its key, whatever it is called."""
    return {signature.name for signature in note.signatures}


def _read(path: Path) -> bytes:
    file = path / CHECKPOINT
    if not file.is_file():
        raise InputError(f"{path}: has no checkpoint; `myosotis ledger checkpoint` signs one")
    return file.read_bytes()
