"""A ledger on disk: opened, read, and appended to."""

import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer, SSlibKey

from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text
from myosotis.engine.lock import acquire, release
from myosotis.engine.result import rfc3339
from myosotis.ledger.claims import Claim
from myosotis.ledger.envelopes import HEAD, LINE, EnvelopeError, opened, sealed, unverified
from myosotis.ledger.guide import GUIDE
from myosotis.ledger.keys import public_pem, read_public
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.statements import (
    MAIN,
    VERSION,
    learned_under,
    leaves_model,
    make_statement,
    roots_before,
    tip_of,
)

LOG, HEAD_FILE, KEYS, GUIDE_FILE = "log.intoto.jsonl", "head.json", "keys", "VERIFY.md"

_PATIENCE = 30.0  # seconds that an append waits for another


@dataclass(frozen=True)
class Head:
    """What the head of a ledger says.

    Attributes:
        ledger: Random identifier of the ledger.
        size: Number of lines.
        length: Bytes of the log.
        last: SHA-256 of the last line; None where there is none.
        frontier: Roots of the complete subtrees over the lines.
        tips: By the name of a branch: sequence, subject, weights and result of its newest line that left a model.
        guide: SHA-256 of ``VERIFY.md``, which stays as the version of this package that began the ledger wrote it.
    """

    ledger: str
    size: int
    length: int
    last: str | None
    frontier: Frontier
    tips: dict[str, dict[str, Any]]
    guide: str = field(default=hashlib.sha256(GUIDE.encode()).hexdigest(), compare=False)

    def content(self) -> dict[str, Any]:
        """Return it for an envelope."""
        return {
            "version": VERSION,
            "ledger": self.ledger,
            "size": self.size,
            "bytes": self.length,
            "last": self.last,
            "root": self.frontier.root().hex(),
            "frontier": [root.hex() for root in self.frontier.roots],
            "tips": self.tips,
            "guide": self.guide,
            "issuedOn": rfc3339(datetime.now(UTC)),
        }

    @classmethod
    def of(cls, content: Any) -> "Head":
        """Return what :meth:`content` gave.

        Raises:
            EnvelopeError: It is damaged, or of another version.
        """
        try:
            if content["version"] != VERSION:
                raise EnvelopeError(f"is of version {content['version']}, this program writes {VERSION}")
            roots = tuple(bytes.fromhex(root) for root in content["frontier"])
            return cls(
                str(content["ledger"]),
                int(content["size"]),
                int(content["bytes"]),
                content["last"],
                Frontier(int(content["size"]), roots),
                dict(content["tips"]),
                str(content["guide"]),
            )
        except EnvelopeError:
            raise
        except (KeyError, TypeError, ValueError):
            raise EnvelopeError("is damaged") from None

    def with_line(self, line: bytes, statement: Any) -> "Head":
        """Return the head after one more line; only lines that leave a model change the tips."""
        tips = self.tips
        if leaves_model(statement):
            tips = {**tips, statement["predicate"]["branch"]: tip_of(statement, self.size)}
        return replace(
            self,
            size=self.size + 1,
            length=self.length + len(line) + 1,
            last=hashlib.sha256(line).hexdigest(),
            frontier=self.frontier.with_entry(line),
            tips=tips,
        )


class Ledger:
    """A folder of signed lines that only grows.

    Args:
        path: The folder.

    Raises:
        InputError: It is no ledger, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not (self.path / HEAD_FILE).is_file() or not (self.path / LOG).is_file():
            raise InputError(f"{path}: is no ledger; `myosotis ledger init` makes one")

    @classmethod
    def create(cls, path: Path, signer: Signer, name: str = "operator") -> "Ledger":
        """Make an empty ledger.

        Args:
            path: Folder, which must not exist.
            signer: Signer of the head.
            name: Name of its key in the folder.

        Raises:
            InputError: The folder exists.
        """
        if path.exists():
            raise InputError(f"{path}: exists already")
        (path / KEYS).mkdir(parents=True)
        write_text(path / KEYS / f"{name}.pub", public_pem(_public(signer)))
        write_text(path / GUIDE_FILE, GUIDE)
        write_text(path / LOG, "")
        head = Head(secrets.token_hex(16), 0, 0, None, Frontier(), {})
        write_text(path / HEAD_FILE, sealed(head.content(), HEAD, signer).decode())
        return cls(path)

    @property
    def keys(self) -> list[SSlibKey]:
        """The public keys in the folder."""
        return [read_public(path) for path in sorted((self.path / KEYS).glob("*.pub"))]

    @property
    def key_names(self) -> list[str]:
        """The names of the public keys in the folder."""
        return sorted(path.stem for path in (self.path / KEYS).glob("*.pub"))

    def head(self) -> Head:
        """Return the head.

        Raises:
            InputError: It is damaged, or signed by no key of the folder.
        """
        try:
            return Head.of(opened((self.path / HEAD_FILE).read_bytes(), HEAD, self.keys)[0])
        except EnvelopeError as error:
            raise InputError(f"{self.path / HEAD_FILE}: {error}") from None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that the head covers, without their ends."""
        left = self.head().length
        with (self.path / LOG).open("rb") as stream:
            for line in stream:
                left -= len(line)
                if left < 0:
                    return
                yield line.removesuffix(b"\n")

    def statements(self) -> Iterator[Any]:
        """Yield the statements, whose signatures are not looked at here.

        Raises:
            InputError: A line is damaged.
        """
        for number, line in enumerate(self.lines(), start=1):
            try:
                yield unverified(line, LINE)
            except EnvelopeError as error:
                raise InputError(f"{self.path / LOG}, line {number}: {error}") from None

    def signers(self) -> list[str]:
        """Return who signed each line: the name of a key in the folder.

        Raises:
            InputError: A line is signed by none of them.
        """
        keys = {path.stem: read_public(path) for path in sorted((self.path / KEYS).glob("*.pub"))}
        names = {key.keyid: name for name, key in keys.items()}
        signers = []
        for number, line in enumerate(self.lines(), start=1):
            try:
                signers.append(names[opened(line, LINE, list(keys.values()))[1]])
            except EnvelopeError as error:
                raise InputError(f"{self.path / LOG}, line {number}: {error}") from None
        return signers

    def append(self, claim: Claim, signer: Signer, branch: str | None = None) -> int:
        """Add a line, and sign a new head; returns the number of the line, counted from 1.

        Another process that appends is waited for. A line that an interrupted append left without a head is completed
        first.

        Args:
            claim: What the line claims.
            signer: Signer of the line and of the head, whose public key must be in the folder.
            branch: Branch; the main one unless given. A new name begins one.

        Raises:
            InputError: The model is not the one that the newest line of the branch left, the run is there already, or
                the ledger is damaged.
        """
        with self._locked():
            self.check_signer(signer)
            head = self._recovered(signer)
            parent = self._parent(head, claim, branch)
            self._check_learning(claim, parent)
            statement = make_statement((head.ledger, head.size, head.last), claim, branch or MAIN, parent)
            line = sealed(statement, LINE, signer)
            self._write(line, head)
            head = head.with_line(line, statement)
            self._sign(head, signer)
            return head.size

    def check(self, claim: Claim, signer: Signer, branch: str | None = None) -> None:
        """Raise ``InputError`` if the ledger as it is now would refuse a claim; nothing is written."""
        self.check_signer(signer)
        self._check_learning(claim, self._parent(self.head(), claim, branch))

    def check_signer(self, signer: Signer) -> None:
        """Raise ``InputError`` if no public key in the folder is the signer's."""
        if _public(signer).keyid not in {key.keyid for key in self.keys}:
            raise InputError(f"{self.path / KEYS}: has no public key of this signer; `myosotis ledger key` adds one")

    def add_key(self, key: SSlibKey, name: str) -> None:
        """Put a public key into the folder, so that its owner can sign lines.

        Raises:
            InputError: There is another one of that name.
        """
        path = self.path / KEYS / f"{name}.pub"
        if path.exists():
            raise InputError(f"{path}: exists already, and a key is never replaced")
        write_text(path, public_pem(key))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                acquire(self.path)
                break
            except InputError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        try:
            yield
        finally:
            release(self.path)

    def _sign(self, head: Head, signer: Signer) -> None:
        write_text(self.path / HEAD_FILE, sealed(head.content(), HEAD, signer).decode())

    def _recovered(self, signer: Signer) -> Head:
        """The head, after it was made to cover a whole line that an interrupted append left."""
        head, log = self.head(), self.path / LOG
        size = log.stat().st_size
        if size == head.length:
            return head
        if size < head.length:
            raise InputError(f"{log}: has {size} bytes, its head covers {head.length}: lines are missing")
        with log.open("rb") as stream:
            stream.seek(head.length)
            rest = stream.read()
        line = rest.removesuffix(b"\n")
        if not rest.endswith(b"\n") or b"\n" in line:
            raise InputError(
                f"{log}: is torn after line {head.size}: {len(rest)} bytes that the head does not cover are no whole "
                f"line; look at them, and cut the file to {head.length} bytes"
            )
        try:
            statement, _ = opened(line, LINE, self.keys)
        except EnvelopeError as error:
            raise InputError(f"{log}, line {head.size + 1}: {error}; its head does not cover it") from None
        if (statement["predicate"]["previous"], statement["predicate"]["sequence"]) != (head.last, head.size):
            raise InputError(
                f"{log}, line {head.size + 1}: does not follow the line before, and its head does not cover it"
            )
        head = head.with_line(line, statement)
        self._sign(head, signer)
        return head

    def _parent(self, head: Head, claim: Claim, branch: str | None) -> dict[str, Any] | None:
        """The line that left the model which a claim begins with; None for a model from outside.

        It is the newest line of the branch; for a new branch, an audit and a release, the newest line of all that fits.

        Raises:
            InputError: The claim does not follow from the newest line of the branch, is there already, or releases a
                model that no line left.
        """
        if claim.kind == "destroy":
            return None
        tip = head.tips.get(branch or MAIN)
        of_model = claim.kind in ("audit", "release")
        if tip is not None and not of_model and tip["result"] == claim.facts["evidence"]["result.json"]:
            raise InputError(f"line {tip['sequence'] + 1} is of this run already")

        def left(one: dict[str, Any]) -> bool:
            return one["subject"] == claim.subjects["model"] if of_model else claim.weights_in in one["weights"]

        if tip is not None and left(tip):
            return tip
        if tip is not None and not of_model:
            raise InputError(
                f"the run began with another model than the one that line {tip['sequence'] + 1} left; '--branch NAME' "
                "begins a branch"
            )
        earlier = [
            tip_of(statement, number) for number, statement in enumerate(self.statements()) if leaves_model(statement)
        ]
        parent = next((one for one in reversed(earlier) if left(one)), None)
        if parent is None and claim.kind == "release":
            raise InputError("no line left the model that is to be released")
        return parent

    def _check_learning(self, claim: Claim, parent: dict[str, Any] | None) -> None:
        """Raise ``InputError`` if no line before has the commitments under which records were learned."""
        said = learned_under(claim.facts.get("records"))
        if not said:
            return
        known: frozenset[str] = frozenset()
        if parent is not None:
            known = next(islice(roots_before(self.statements()), parent["sequence"], None))
        if said - known:
            raise InputError("no `learn` line that this model follows from has the commitments of --learned")

    def _write(self, line: bytes, head: Head) -> None:
        """Append a line in one piece: where that fails, the log is as long as before."""
        descriptor = os.open(self.path / LOG, os.O_WRONLY | os.O_APPEND)
        try:
            content = line + b"\n"
            try:
                written = os.write(descriptor, content)
                if written != len(content):
                    raise OSError(f"{self.path / LOG}: only {written} of {len(content)} bytes could be written")
                os.fsync(descriptor)
            except BaseException:
                os.ftruncate(descriptor, head.length)
                raise
        finally:
            os.close(descriptor)


def _public(signer: Signer) -> SSlibKey:
    key: SSlibKey = signer.public_key  # type: ignore[assignment]
    return key
