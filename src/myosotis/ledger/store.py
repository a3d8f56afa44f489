"""A ledger on disk: opened, read, and appended to.

A folder: ``log.intoto.jsonl``, a signed line for each thing that happened; ``head.json``, the signed head over them;
``keys/NAME.pub``, whose roles the head names; ``VERIFY.md``; ``timestamps/`` and ``checkpoint`` where there are any. An
append writes the line in one piece, then the head: killed in between, it leaves a whole line without a head, which the
next append completes. Appends wait for each other, threads and processes, on a lock inside the folder.

    ledger = Ledger(Path("runs/life"))
    ledger.append(claim_of_run(Path("runs/request-17")), signer)
"""

import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from securesystemslib.signer import Signer, SSlibKey

from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text
from myosotis.engine.lock import acquire, release
from myosotis.ledger.claims import Claim
from myosotis.ledger.envelopes import HEAD, LINE, EnvelopeError, authenticated, canonical, payload_of, sealed
from myosotis.ledger.guide import GUIDE
from myosotis.ledger.heads import MAY_SIGN, Head, Holder, Role, Tip, role_for, roles_of_files, tip_of
from myosotis.ledger.keys import public_pem, read_public
from myosotis.ledger.lineage import Lineage
from myosotis.ledger.statements import MAIN, Statement

LOG, HEAD_FILE, KEYS, GUIDE_FILE = "log.intoto.jsonl", "head.json", "keys", "VERIFY.md"

_PATIENCE = 30.0  # seconds that an append waits for another

_threads: dict[Path, threading.Lock] = {}
_of_threads = threading.Lock()


class Ledger:
    """A folder of signed lines that only grows.

    Args:
        path: The folder.

    Raises:
        InputError: It is not a ledger, or one that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        if not (self.path / HEAD_FILE).is_file() or not (self.path / LOG).is_file():
            raise InputError(f"{path}: is not a ledger; `myosotis ledger init` makes one")

    @classmethod
    def create(cls, path: Path, signer: Signer, name: str = "operator") -> "Ledger":
        """Make an empty ledger.

        Args:
            path: Folder, which must not exist.
            signer: Signer of the head, an operator.
            name: Name of its key in the folder.

        Raises:
            InputError: The folder exists.
        """
        if path.exists():
            raise InputError(f"{path}: already exists")
        (path / KEYS).mkdir(parents=True)
        public = _public(signer)
        write_text(path / KEYS / f"{name}.pub", public_pem(public))
        write_text(path / GUIDE_FILE, GUIDE)
        write_text(path / LOG, "")
        head = Head(secrets.token_hex(16), roles={public.keyid: Holder(name=name, role="operator")})
        write_text(path / HEAD_FILE, sealed(head.content(), HEAD, signer).decode())
        return cls(path)

    @property
    def keys(self) -> list[SSlibKey]:
        """The public keys in the folder."""
        return list(self.keys_by_name.values())

    @property
    def keys_by_name(self) -> dict[str, SSlibKey]:
        """The public keys in the folder by the names of their files."""
        return {path.stem: read_public(path) for path in sorted((self.path / KEYS).glob("*.pub"))}

    def head(self) -> Head:
        """Return the head; where an earlier version wrote it, with the roles that the next append will give the keys.

        Raises:
            InputError: It is damaged, or signed by no key of the folder.
        """
        named = self.keys_by_name
        try:
            head = Head.read((self.path / HEAD_FILE).read_bytes(), named.values())
        except EnvelopeError as error:
            raise InputError(f"{self.path / HEAD_FILE}: {error}") from None
        return (
            head
            if head.roles
            else replace(head, roles=roles_of_files({key.keyid: name for name, key in named.items()}))
        )

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that the head covers, without their ends.

        Raises:
            InputError: The log has fewer lines than its head covers.
        """
        head = self.head()
        with (self.path / LOG).open("rb") as stream:
            for _ in range(head.size):
                line = stream.readline()
                if not line.endswith(b"\n") or stream.tell() > head.length:
                    raise InputError(f"{self.path / LOG}: its head covers {head.size} lines, and some are missing")
                yield line[:-1]

    def statements(self) -> Iterator[Statement]:
        """Yield the statements, whose signatures are not looked at here.

        Raises:
            InputError: A line is damaged, or names another number than its own, or a later line as its parent.
        """
        for number, line in enumerate(self.lines(), start=1):
            try:
                statement = Statement.parse(payload_of(line, LINE))
            except EnvelopeError as error:
                raise InputError(f"{self.path / LOG}, line {number}: {error}") from None
            parent = statement.predicate.parent
            if statement.line != number or (parent is not None and parent.sequence >= number - 1):
                raise InputError(f"{self.path / LOG}, line {number}: its own number or that of its parent is wrong")
            yield statement

    def signers(self) -> list[str]:
        """Return who signed each line: name and role of a key in the folder.

        Raises:
            InputError: A line is signed by none of them.
        """
        head, keys = self.head(), self.keys
        signers = []
        for number, line in enumerate(self.lines(), start=1):
            try:
                holder = head.roles.get(authenticated(line, LINE, keys)[1])
            except EnvelopeError as error:
                raise InputError(f"{self.path / LOG}, line {number}: {error}") from None
            signers.append("unknown" if holder is None else holder.name)
        return signers

    def append(self, claim: Claim, signer: Signer, branch: str | None = None) -> int:
        """Add a line, and sign a new head; returns the number of the line, counted from 1.

        Another thread or process that appends is waited for. A line that an interrupted append left without a head is
        completed first.

        Args:
            claim: What the line claims.
            signer: Signer of the line and of the head, whose key must have a role that may sign such a line.
            branch: Branch; the main one unless given. A new name begins one.

        Raises:
            InputError: The key may not sign it, the model is not the one that the newest line of the branch left, a
                line records the run already, or the ledger is damaged.
        """
        with self._locked():
            self.check_signer(signer, role_for(claim.kind), claim.kind)
            head = self._recovered(signer)[0]
            parent = self._parent(head, claim, branch)
            self._check_learning(claim, parent)
            content = claim.statement(head, branch or MAIN, parent)
            statement = self._parsed(content)
            line = sealed(content, LINE, signer)
            self._write(line, head)
            head = head.with_line(line, statement)
            self._sign(head, signer)
            return head.size

    def recover(self, signer: Signer) -> Statement | None:
        """Complete a line that an interrupted append left without a head, and return it; None if there is none.

        Args:
            signer: Signer of the head.

        Raises:
            InputError: The ledger is damaged.
        """
        with self._locked():
            return self._recovered(signer)[1]

    def check(self, claim: Claim, signer: Signer, branch: str | None = None) -> None:
        """Raise ``InputError`` if the ledger as it is now would refuse a claim; nothing is written."""
        self.check_signer(signer, role_for(claim.kind), claim.kind)
        head = self.head()
        parent = self._parent(head, claim, branch)
        self._check_learning(claim, parent)
        self._parsed(claim.statement(head, branch or MAIN, parent))

    def holder(self, signer: Signer) -> Holder:
        """Return who a signer is in the ledger.

        Raises:
            InputError: Its key has no role.
        """
        holder = self.head().roles.get(_public(signer).keyid)
        if holder is None:
            raise InputError(f"{self.path}: this signer's key has no role; `myosotis ledger key` gives it one")
        return holder

    def check_signer(self, signer: Signer, role: Role, purpose: str) -> None:
        """Raise ``InputError`` unless the signer's key has a role in the ledger; the message names the purpose."""
        holder = self.holder(signer)
        if holder.role != role:
            raise InputError(f"{self.path}: '{holder.name}' is {_a(holder.role)}, and '{purpose}' needs {_a(role)}")

    def add_key(self, key: SSlibKey, name: str, role: Role, signer: Signer) -> None:
        """Put a public key into the folder, and give it a role.

        Args:
            key: Public key.
            name: Name of its file.
            role: What its owner may sign.
            signer: Signer of the head, an operator.

        Raises:
            InputError: There is another key of that name, the key has a role, or the signer is not an operator.
        """
        path = self.path / KEYS / f"{name}.pub"
        with self._locked():
            head = self._recovered(signer)[0]
            self.check_signer(signer, "operator", "key")
            if key.keyid in head.roles:
                raise InputError(f"{path}: this key has a role already, as '{head.roles[key.keyid].name}'")
            if path.exists() and read_public(path).keyid != key.keyid:
                raise InputError(f"{path}: already exists, and a key is never replaced")
            try:
                roles = {**head.roles, key.keyid: Holder(name=name, role=role)}
            except ValueError:
                raise InputError(f"'{name}': a name of a key has letters, digits, '.', '_' and '-' only") from None
            write_text(path, public_pem(key))
            self._sign(replace(head, roles=roles), signer)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One thread of one process: record locks of a process do not keep its threads apart."""
        file = self.path / LOG
        with _of_threads:
            threads = _threads.setdefault(file, threading.Lock())
        deadline = time.monotonic() + _PATIENCE
        if not threads.acquire(timeout=_PATIENCE):
            raise InputError(f"{self.path}: another thread is writing to it")
        try:
            while True:
                try:
                    acquire(file, take_over=True)
                    break
                except InputError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            try:
                yield
            finally:
                release(file)
        finally:
            threads.release()

    def _sign(self, head: Head, signer: Signer) -> None:
        write_text(self.path / HEAD_FILE, sealed(head.content(), HEAD, signer).decode())

    def _recovered(self, signer: Signer) -> tuple[Head, Statement | None]:
        """The head, made to cover a whole line that an interrupted append left, and that line."""
        head, log = self.head(), self.path / LOG
        for staged in self.path.glob(f".{HEAD_FILE}.*"):  # of killed appends
            staged.unlink()
        size = log.stat().st_size
        if size == head.length:
            return head, None
        if size < head.length:
            raise InputError(f"{log}: has {size} bytes, its head covers {head.length}: lines are missing")
        with log.open("rb") as stream:
            stream.seek(head.length)
            rest = stream.read()
        line = rest.removesuffix(b"\n")
        if not rest.endswith(b"\n") or b"\n" in line:
            raise InputError(
                f"{log}: is torn after line {head.size}: {len(rest)} bytes that the head does not cover are not a "
                f"whole line; look at them, and cut the file to {head.length} bytes"
            )
        try:
            payload, keyid = authenticated(line, LINE, self.keys)
            statement = Statement.parse(payload)
        except EnvelopeError as error:
            raise InputError(f"{log}, line {head.size + 1}: {error}; its head does not cover it") from None
        said = statement.predicate
        if (said.previous, said.sequence, said.ledger) != (head.last, head.size, head.ledger):
            raise InputError(
                f"{log}, line {head.size + 1}: does not follow the line before, and its head does not cover it"
            )
        if keyid not in head.roles or statement.kind not in MAY_SIGN[head.roles[keyid].role]:
            raise InputError(f"{log}, line {head.size + 1}: its signer may not sign it, and its head does not cover it")
        own = _public(signer).keyid
        if keyid != own and (own not in head.roles or head.roles[own].role != "operator"):
            raise InputError(f"{log}, line {head.size + 1}: an append was interrupted; an operator completes it")
        head = head.with_line(line, statement)
        self._sign(head, signer)
        return head, statement

    def _parsed(self, content: object) -> Statement:
        """A statement as everybody will read it, before it is signed."""
        try:
            return Statement.parse(canonical(content))
        except EnvelopeError as error:
            raise InputError(f"{self.path}: {error}") from None

    def _parent(self, head: Head, claim: Claim, branch: str | None) -> Tip | None:
        """The line that left the model which a claim begins with; None for a model from outside.

        It is the newest line of the branch; for a new branch, an audit and a release, the newest line of all that fits.

        Raises:
            InputError: The claim does not follow from the newest line of the branch, a line records it already, or it
                is about a model that no line left.
        """
        if claim.kind == "destroy":
            return None
        tip = head.tips.get(branch or MAIN)
        of_model = claim.kind in ("audit", "release")
        if tip is not None and not of_model and tip.result == claim.facts["evidence"]["result.json"]:
            raise InputError(f"line {tip.sequence + 1} already records this run")

        def left(one: Tip) -> bool:
            return one.subject == claim.digest if of_model else claim.weights_in in one.weights

        if tip is not None and left(tip):
            return tip
        if tip is not None and not of_model:
            raise InputError(
                f"the run began with another model than the one that line {tip.sequence + 1} left; '--branch NAME' "
                "begins a branch"
            )
        parent = None
        for statement in self.statements():
            if statement.leaves_model and left(tip_of(statement)):
                parent = tip_of(statement)
        if parent is None and of_model:
            did = "released" if claim.kind == "release" else "audited"
            raise InputError(f"no line left the model that is to be {did}; add its run to the ledger first")
        return parent

    def _check_learning(self, claim: Claim, parent: Tip | None) -> None:
        """Raise ``InputError`` if no line before has the commitments under which records were learned."""
        learned = (claim.facts.get("records") or {}).get("learned")
        if not learned:
            return
        roots, lines, learners = {one["root"] for one in learned}, Lineage(), dict[str, int]()
        for statement in self.statements():
            before = statement.predicate.parent
            lines.add(None if before is None else before.sequence)
            root = statement.predicate.records.root
            if statement.kind == "learn" and root is not None and root in roots:
                learners[root] = statement.predicate.sequence
        for root in roots:
            line = learners.get(root)
            if line is None or parent is None or not lines.follows(parent.sequence, line):
                raise InputError("no `learn` line that this model follows from has the commitments of --learned")

    def _write(self, line: bytes, head: Head) -> None:
        """Append a line in one piece: where that fails, the log is as long as before."""
        descriptor = os.open(self.path / LOG, os.O_WRONLY | os.O_APPEND)
        try:
            if os.fstat(descriptor).st_size != head.length:
                raise InputError(f"{self.path / LOG}: somebody else has written to it meanwhile; call again")
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


def _a(noun: str) -> str:
    return f"a{'n' if noun[0] in 'aeiou' else ''} {noun}"
