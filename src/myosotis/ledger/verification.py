"""Check a ledger: signatures, order, head, history, model and lineage, each with a status of its own."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from myosotis.engine.errors import InputError
from myosotis.ledger.claims import Kind, directory_digest
from myosotis.ledger.envelopes import HEAD, LINE, EnvelopeError, canonical, opened, unverified
from myosotis.ledger.guide import GUIDE
from myosotis.ledger.keys import public_pem, read_public
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.receipts import covered_by
from myosotis.ledger.statements import MAIN, STATEMENT, kind_of, learned_under, leaves_model, roots_before
from myosotis.ledger.store import GUIDE_FILE, HEAD_FILE, KEYS, LOG, Head
from myosotis.ledger.timestamps import check_times, read_roots

STATUSES = {
    "signatures": 10,
    "order": 11,
    "identity": 12,
    "head": 13,
    "history": 14,
    "model": 15,
    "lineage": 16,
    "folder": 17,
    "record": 18,
    "recomputed": 19,
    "time": 20,
}
"""Exit status of a failed check, by its name."""


class CheckError(Exception):
    """A check that failed: its text says why."""


@dataclass(frozen=True)
class Check:
    """A check of a ledger.

    Attributes:
        name: A key of :data:`STATUSES`.
        holds: Whether it holds.
        text: What was looked at, or what is wrong.
    """

    name: str
    holds: bool
    text: str

    @property
    def status(self) -> int:
        """The exit status: 0 where it holds."""
        return 0 if self.holds else STATUSES[self.name]


def verify_ledger(
    path: Path,
    keys: Sequence[SSlibKey],
    *,
    model: Path | None = None,
    branch: str = MAIN,
    since: Path | None = None,
    proof: tuple[Path, Path] | None = None,
    kind: Kind = "forget",
    learned_anew: Callable[[], Mapping[str, Any]] | None = None,
    roots: Path | None = None,
) -> Iterator[Check]:
    """Check a ledger, and yield what each check says; it ends with the first that fails.

    Args:
        path: The folder.
        keys: Public keys that are trusted; every line, and the head, must be signed by one of them.
        model: Directory of the model that the newest line of the branch should have left.
        branch: The branch.
        since: A head of this ledger from before, of which it must be the continuation.
        proof: A record, and the receipt that says which line covers it; with a model, one that the model follows from.
        kind: Kind of that line.
        learned_anew: Of a learner that forgets exactly: learns its images anew, and returns the digests of sums and
            head as ``recomputed``, and whether they are those of the model as ``equal``.
        roots: Certificates of the authorities that may have stamped heads of the ledger, in PEM.

    Raises:
        InputError: It is no ledger, or a file that was named is missing.
    """
    for name in (LOG, HEAD_FILE):
        if not (path / name).is_file():
            raise InputError(f"{path}: is no ledger: it has no {name}")
    authorities = None if roots is None else read_roots(roots)
    log = (path / LOG).read_bytes()
    checked = _Checked(path, log, list(keys), branch)
    steps = [
        ("signatures", checked.signatures),
        ("order", checked.order),
        ("identity", checked.identity),
        ("head", checked.head_covers),
        ("lineage", checked.lineage),
        ("folder", checked.folder),
    ]
    if since is not None:
        steps.append(("history", lambda: checked.continues(since)))
    if model is not None:
        steps.append(("model", lambda: checked.model(model)))
    if proof is not None:
        steps.append(("record", lambda: checked.record(*proof, kind, of_model=model is not None)))
    if learned_anew is not None:
        steps.append(("recomputed", lambda: checked.recomputed(learned_anew())))
    if authorities is not None:
        steps.append(("time", lambda: checked.times(authorities)))
    for name, step in steps:
        try:
            text = step()
        except CheckError as error:
            yield Check(name, False, str(error))
            return
        yield Check(name, True, text)


class _Checked:
    """A ledger while it is checked."""

    def __init__(self, path: Path, log: bytes, keys: list[SSlibKey], branch: str) -> None:
        self._path, self._log, self._keys, self._branch = path, log, keys, branch
        self._lines: list[bytes] = []
        self._statements: list[Any] = []
        self._head: Head

    def signatures(self) -> str:
        if not self._keys:
            raise CheckError("no public key is given")
        if self._log and not self._log.endswith(b"\n"):
            raise CheckError(f"{LOG}: the last line is torn")
        self._lines = self._log.split(b"\n")[:-1]
        signers: dict[str, int] = {}
        for number, line in enumerate(self._lines, start=1):
            try:
                statement, keyid = opened(line, LINE, self._keys)
            except EnvelopeError as error:
                raise CheckError(f"{LOG}, line {number}: {error}") from None
            if not isinstance(statement, dict) or statement.get("_type") != STATEMENT:
                raise CheckError(f"{LOG}, line {number}: is no in-toto statement")
            signers[keyid] = signers.get(keyid, 0) + 1
            self._statements.append(statement)
        content = (self._path / HEAD_FILE).read_bytes()
        try:
            value, _ = opened(content, HEAD, self._keys)
            self._head = Head.of(value)
        except EnvelopeError as error:
            raise CheckError(f"{HEAD_FILE}: {error}") from None
        if not _is_canonical(content) or value.get("root") != self._head.frontier.root().hex():
            raise CheckError(f"{HEAD_FILE}: is not as it was written")
        self._guide = value["guide"]
        by_key = ", ".join(f"{count} by {keyid[:16]}" for keyid, count in signers.items()) or "none"
        return f"{len(self._lines)} lines, {by_key}"

    def order(self) -> str:
        previous = None
        for number, (line, statement) in enumerate(zip(self._lines, self._statements, strict=True)):
            predicate = _predicate(statement, number)
            if predicate.get("sequence") != number:
                raise CheckError(f"line {number + 1} says that it is line {_number(predicate.get('sequence'))}")
            if predicate.get("previous") != previous:
                raise CheckError(f"line {number + 1} does not follow the line before it")
            previous = hashlib.sha256(line).hexdigest()
        return "every line names the one before"

    def identity(self) -> str:
        for number, statement in enumerate(self._statements, start=1):
            if statement["predicate"].get("ledger") != self._head.ledger:
                raise CheckError(f"line {number} is of another ledger")
        return f"ledger {self._head.ledger}"

    def head_covers(self) -> str:
        head = Head(self._head.ledger, 0, 0, None, Frontier(), {})
        for number, (line, statement) in enumerate(zip(self._lines, self._statements, strict=True), start=1):
            try:
                head = head.with_line(line, statement)
            except (KeyError, TypeError, IndexError):
                raise CheckError(f"line {number}: its statement lacks something") from None
        own = self._head
        if head.size != own.size:
            beyond = "; an append was interrupted, the next one completes it" if head.size == own.size + 1 else ""
            raise CheckError(f"the head covers {own.size} lines, the log has {head.size}{beyond}")
        if head != own:
            raise CheckError("the head is not that of these lines")
        return f"root {head.frontier.root().hex()}"

    def lineage(self) -> str:
        begun = 0
        newest: dict[str, int] = {}
        for number, statement in enumerate(self._statements):
            if kind_of(statement) == "destroy":
                continue
            predicate = statement["predicate"]
            before = self._parent(number, predicate)
            if leaves_model(statement):
                expected = newest.get(predicate["branch"])
                if expected is not None and before != expected:
                    raise CheckError(f"line {number + 1} does not begin with the model that line {expected + 1} left")
                newest[predicate["branch"]] = number
            else:
                self._about(number, statement, before)
            begun += before is None
        self._learned()
        outside = f"; {begun} began outside this ledger" if begun else ""
        return f"every model follows from the one before{outside}"

    def _parent(self, number: int, predicate: Any) -> int | None:
        """Sequence of the line that left the model of another line; None for a model from outside."""
        try:
            if predicate["parent"] is None:
                return None
            before, digest = predicate["parent"]["sequence"], predicate["parent"]["sha256"]
            if not isinstance(before, int) or not 0 <= before < number:
                raise CheckError(f"line {number + 1}: its parent is no earlier line")
            other = self._statements[before]
            if digest != other["subject"][0]["digest"]["sha256"]:
                raise CheckError(f"line {number + 1}: its parent is not the model that line {before + 1} left")
            if predicate["weights"]["in"] not in other["predicate"]["weights"]["out"]:
                raise CheckError(f"line {number + 1} began with other weights than line {before + 1} left")
        except (KeyError, TypeError, IndexError):
            raise CheckError(f"line {number + 1}: its statement lacks something") from None
        return before

    def _learned(self) -> None:
        """Check that what a line says had been learned is what a line before it, on the way to it, had learned."""
        try:
            for number, (one, roots) in enumerate(
                zip(self._statements, roots_before(self._statements), strict=True), start=1
            ):
                if learned_under(one["predicate"].get("records")) - roots:
                    raise CheckError(f"line {number}: no line that it follows from had learned its records")
        except (KeyError, TypeError, AttributeError, IndexError):
            raise CheckError("what a line says of its records lacks something") from None

    def _about(self, number: int, statement: Any, before: int | None) -> None:
        """Raise where an audit or a release is not about the model of its parent."""
        if before is None:
            if kind_of(statement) == "release":
                raise CheckError(f"line {number + 1} releases a model that no line left")
            return
        digests = [one.get("digest", {}).get("sha256") for one in statement.get("subject") or [{}]]
        if digests != [statement["predicate"]["parent"]["sha256"]]:
            raise CheckError(f"line {number + 1} is not about the model that line {before + 1} left")

    def folder(self) -> str:
        guide = self._path / GUIDE_FILE
        if not guide.is_file() or hashlib.sha256(guide.read_bytes()).hexdigest() != self._guide:
            raise CheckError(f"{GUIDE_FILE}: is not what the head names")
        known = {key.keyid for key in self._keys}
        files = sorted((self._path / KEYS).glob("*.pub"))
        for file in files:
            try:
                key = read_public(file)
            except InputError as error:
                raise CheckError(str(error)) from None
            if key.keyid not in known or file.read_text() != public_pem(key):
                raise CheckError(f"{KEYS}/{file.name}: is none of the given keys")
        own = "" if self._guide == hashlib.sha256(GUIDE.encode()).hexdigest() else "; its guide is of another version"
        return f"{len(files)} public keys, and {GUIDE_FILE}{own}"

    def continues(self, since: Path) -> str:
        if not since.is_file():
            raise InputError(f"{since}: no such file of a head")
        try:
            old = Head.of(opened(since.read_bytes(), HEAD, self._keys)[0])
        except EnvelopeError as error:
            raise CheckError(f"{since.name}: {error}") from None
        if old.ledger != self._head.ledger:
            raise CheckError(f"{since.name}: is of another ledger")
        frontier = Frontier()
        for line in self._lines[: old.size]:
            frontier = frontier.with_entry(line)
        if frontier != old.frontier:
            raise CheckError(f"the first {old.size} lines are not those that {since.name} covers")
        return f"{len(self._lines) - old.size} lines since then"

    def record(self, record: Path, receipt: Path, kind: Kind, *, of_model: bool) -> str:
        try:
            covered = covered_by(record, receipt, self._statements, kind)
        except EnvelopeError as error:
            raise CheckError(str(error)) from None
        if of_model and kind in ("learn", "forget") and not self._follows(covered.line - 1):
            raise CheckError(f"the model of branch '{self._branch}' does not follow from line {covered.line}")
        learned = "" if covered.learned is None else f"; line {covered.learned} had learned it"
        return f"line {covered.line} ({kind}) covers {record.name} by its {' and '.join(covered.forms)}{learned}"

    def _follows(self, sequence: int) -> bool:
        """Whether the newest model of the branch is the one of a line, or began with it, step by step."""
        newest = self._newest()
        while newest["predicate"]["sequence"] != sequence:
            if newest["predicate"]["parent"] is None:
                return False
            newest = self._statements[newest["predicate"]["parent"]["sequence"]]
        return True

    def times(self, roots: Sequence[Certificate]) -> str:
        try:
            return check_times(self._path, self._keys, roots, self._lines, self._head.ledger)
        except EnvelopeError as error:
            raise CheckError(str(error)) from None

    def model(self, path: Path) -> str:
        folder = path / "model" if (path / "config.yaml").is_file() else path
        if not folder.is_dir():
            raise InputError(f"{path}: no such directory of a model")
        newest = self._newest()
        number = newest["predicate"]["sequence"] + 1
        subject, files = directory_digest(folder)
        listed = newest["predicate"]["files"]
        if subject == newest["subject"][0]["digest"]["sha256"] and files == (listed or files):
            return f"{path} is the model of line {number}"
        if not listed:
            raise CheckError(f"{path} is not the model of line {number}")
        differing = next((name for name in sorted({*files, *listed}) if files.get(name) != listed.get(name)), "")
        raise CheckError(f"{path} is not the model of line {number}: {differing} differs")

    def recomputed(self, anew: Mapping[str, Any]) -> str:
        newest = self._newest()
        number = newest["predicate"]["sequence"] + 1
        statistics = anew["recomputed"]["statistics"]
        if statistics not in newest["predicate"]["weights"]["out"]:
            raise CheckError(f"the images make the sums {statistics}, which line {number} did not leave")
        if not anew["equal"]:
            raise CheckError(f"the images make the sums of line {number}, and another head than the model's")
        return f"{anew['images']} images make the sums and the head of line {number}, to the bit"

    def _newest(self) -> Any:
        tip = self._head.tips.get(self._branch)
        if tip is None:
            known = ", ".join(sorted(self._head.tips)) or "none"
            raise CheckError(f"no line left a model on the branch '{self._branch}'; branches: {known}")
        return self._statements[tip["sequence"]]


def _predicate(statement: Any, number: int) -> Any:
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict):
        raise CheckError(f"line {number + 1}: its statement lacks a predicate")
    return predicate


def _number(sequence: Any) -> str:
    return str(sequence + 1) if isinstance(sequence, int) else "none"


def _is_canonical(content: bytes) -> bool:
    """Whether an envelope has the bytes that it is written with: what its parser overlooks was not changed."""
    parsed = Envelope.from_dict(json.loads(content))
    payload = unverified(content, HEAD)
    return content == canonical(parsed.to_dict()) and parsed.payload == canonical(payload)
