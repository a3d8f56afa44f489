"""Check a ledger: signatures, order, head, lineage, model and record, each with a status of its own.

The log is read once, a line at a time, and of each line only what later ones must fit is kept, so that the memory of a
check grows slowly. Nothing is believed that can be computed: head, tips and root are replayed from the lines.
What is believed are keys: those that whoever asks has named, each for a role, see :class:`Trusted`.
"""

import hashlib
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.x509 import Certificate
from securesystemslib.signer import SSlibKey

from myosotis.engine.errors import InputError
from myosotis.ledger.claims import directory_digest
from myosotis.ledger.envelopes import LINE, EnvelopeError, authenticated, payload_of
from myosotis.ledger.guide import GUIDE
from myosotis.ledger.heads import MAY_SIGN, Head, Role, roles_of_files
from myosotis.ledger.keys import public_pem, read_public
from myosotis.ledger.lineage import Lineage
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.receipts import covered_by, read_receipt
from myosotis.ledger.statements import MAIN, Kind, Statement, moment_of
from myosotis.ledger.store import GUIDE_FILE, HEAD_FILE, KEYS, LOG, Ledger
from myosotis.ledger.timestamps import FOLDER as TIMES, check_times, read_roots, stamped_sizes
from myosotis.ledger.witnessing import CHECKPOINT, check_witnesses

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
    "witnesses": 21,
}
"""Exit status of a failed check, by its name."""
UNNAMED = 30
"""Exit status where every check holds, but whoever asks has named no key."""

_CLOCKS = 86400  # seconds that dates of v0.1, which two clocks wrote, may go back


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


@dataclass(frozen=True)
class Trusted:
    """Keys that are trusted, each for a role.

    Attributes:
        operators: Keys that sign what happened to models, and heads.
        auditors: Keys that sign what audits found.
        witnesses: Keys of witnesses, of whom :attr:`quorum` must have cosigned all lines.
        quorum: How many; none unless given.
    """

    operators: Sequence[SSlibKey]
    auditors: Sequence[SSlibKey] = ()
    witnesses: Sequence[SSlibKey] = ()
    quorum: int = 0

    @property
    def keys(self) -> list[SSlibKey]:
        """All keys."""
        return [*self.operators, *self.auditors]

    def role(self, keyid: str) -> Role:
        """Return the role of one of the keys."""
        return "operator" if keyid in {key.keyid for key in self.operators} else "auditor"

    @classmethod
    def by_ledger(cls, path: Path) -> "Trusted":
        """Return the keys in a ledger's own folder, with the roles that its head gives them.

        Whoever made the ledger could have made them, so this is for its operator, and for a look.
        """
        ledger = Ledger(path)
        try:
            roles = ledger.head().roles
        except InputError:  # the check of the signatures says what is wrong
            roles = roles_of_files({key.keyid: name for name, key in ledger.keys_by_name.items()})

        def of(role: Role) -> list[SSlibKey]:
            return [key for key in ledger.keys if key.keyid in roles and roles[key.keyid].role == role]

        return cls(of("operator"), of("auditor"))


def verify_ledger(
    path: Path,
    trusted: Trusted,
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
        trusted: Public keys that are trusted: every line, and the head, must be signed by one whose role may sign it.
        model: Directory of the model that the newest line of the branch should have left.
        branch: The branch.
        since: A head of this ledger from before, of which it must be the continuation.
        proof: A record, and the receipt that says which line covers it; with a model, one that the model follows from.
        kind: Kind of that line.
        learned_anew: Of a learner that forgets exactly: learns its images again, and returns the digests of sums and
            head as ``recomputed``, and whether they are those of the model as ``equal``.
        roots: Certificates of the authorities that may have stamped heads of the ledger, in PEM.

    Raises:
        InputError: It is not a ledger, or a file that was named is missing.
    """
    for name in (LOG, HEAD_FILE):
        if not (path / name).is_file() or (path / name).is_symlink():
            raise InputError(f"{path}: is not a ledger: it has no {name}, or a link of that name")
    authorities = None if roots is None else read_roots(roots)
    checked = _Checked(path, trusted, branch)
    steps: list[tuple[str, Callable[[], str]]] = [
        ("signatures", checked.signatures),
        ("order", lambda: checked.said("order", "every line names the one before, and dates ascend")),
        ("identity", lambda: checked.said("identity", f"ledger {checked.head.ledger}")),
        ("head", checked.head_covers),
        ("lineage", checked.lineage),
        ("folder", checked.folder),
    ]
    if trusted.quorum or (path / CHECKPOINT).exists():
        steps.append(("witnesses", checked.witnesses))
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
    """A ledger while it is checked: read once, with the first fault of each kind."""

    def __init__(self, path: Path, trusted: Trusted, branch: str) -> None:
        self._path, self._trusted, self._branch = path, trusted, branch
        self.head: Head
        self._faults: dict[str, str] = {}
        self._begins = array("q")  # where each line begins in the log
        self._models: list[bytes | None] = []  # digest of the model that each line left; None of other lines
        self._weights: list[tuple[str, ...]] = []
        self._lines = Lineage()
        self._roots: dict[str, tuple[int, Kind, int]] = {}  # line, kind and records of each root of commitments
        self._newest: dict[str, int] = {}
        self._outside = 0
        self._naming: list[int] = []  # lines that name destroyed files
        self._recorded = array("q")  # seconds
        self._version = ""

    def said(self, name: str, text: str) -> str:
        """The text of a check that the reading of the lines has made."""
        if name in self._faults:
            raise CheckError(self._faults[name])
        return text

    def signatures(self) -> str:
        if not self._trusted.operators:
            raise CheckError("no public key of an operator is given")
        keys = self._trusted.keys
        try:
            self.head = Head.read((self._path / HEAD_FILE).read_bytes(), keys)
        except EnvelopeError as error:
            raise CheckError(f"{HEAD_FILE}: {error}") from None
        both = {key.keyid for key in self._trusted.operators} & {key.keyid for key in self._trusted.auditors}
        if both:
            raise CheckError(f"{min(both)[:16]} is trusted as an operator and as an auditor")
        for key in keys:
            holder, role = self.head.roles.get(key.keyid), self._trusted.role(key.keyid)
            if holder is not None and holder.role != role:
                raise CheckError(f"{HEAD_FILE}: gives the {role} {key.keyid[:16]} the role '{holder.role}'")
        replayed, signers, last = Head(self.head.ledger), dict[str, int](), ""
        with (self._path / LOG).open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    raise CheckError(f"{LOG}: the last line is torn")
                line = line[:-1]
                try:
                    payload, last = authenticated(line, LINE, keys)
                    statement = Statement.parse(payload)
                except EnvelopeError as error:
                    raise CheckError(f"{LOG}, line {number}: {error}") from None
                role = self._trusted.role(last)
                if statement.kind not in MAY_SIGN[role]:
                    raise CheckError(f"{LOG}, line {number}: is of kind {statement.kind}, and signed by an {role}")
                signers[last] = signers.get(last, 0) + 1
                self._read(statement, replayed)
                self._begins.append(replayed.length)
                replayed = replayed.with_line(line, statement)
        self._replayed, self._last_signer = replayed, last
        by_key = ", ".join(f"{count} by {self._named(keyid)}" for keyid, count in signers.items()) or "none"
        return f"{len(self._begins)} lines, {by_key}; head by {self._named(self.head.signer)}"

    def _named(self, keyid: str) -> str:
        return f"{self.head.name_of(keyid)} ({self._trusted.role(keyid)} {keyid[:16]})"

    def _read(self, statement: Statement, before: Head) -> None:
        """Check a line against those before it, and keep what later ones must fit."""
        said, number = statement.predicate, before.size + 1
        if said.sequence != before.size:
            self._faults.setdefault("order", f"line {number} says that it is line {statement.line}")
        elif said.previous != before.last:
            self._faults.setdefault("order", f"line {number} does not follow the line before it")
        recorded, earlier = int(moment_of(said.recorded_on).timestamp()), self._recorded[-1] if self._recorded else 0
        if recorded + (_CLOCKS if statement.version == "v0.1" else 0) < earlier:
            self._faults.setdefault("order", f"line {number} says that it is older than the line before it")
        if self._version > statement.version:
            self._faults.setdefault("order", f"line {number} is of an older version than a line before it")
        self._version = statement.version
        self._recorded.append(recorded)
        if said.ledger != before.ledger:
            self._faults.setdefault("identity", f"line {number} is of another ledger")
        try:
            self._follow(statement, number)
        except CheckError as error:
            self._faults.setdefault("lineage", str(error))
        if len(self._lines) < number:
            self._lines.add(None)
        self._models.append(bytes.fromhex(statement.digest) if statement.leaves_model else None)
        self._weights.append(said.weights.left if statement.leaves_model else ())
        if said.records.root is not None:
            self._roots.setdefault(said.records.root, (number - 1, statement.kind, said.records.count or 0))
        if statement.names_destroyed:
            self._naming.append(number)

    def _follow(self, statement: Statement, number: int) -> None:
        said = statement.predicate
        if statement.kind == "destroy":
            missing = next((one for one in said.models if one >= number - 1 or self._models[one] is None), None)
            if missing is not None:
                raise CheckError(f"line {number} destroys the model of line {missing + 1}, which left none")
            return
        before = None if said.parent is None else said.parent.sequence
        if before is not None and said.parent is not None:
            if before >= number - 1 or self._models[before] is None:
                raise CheckError(f"line {number}: its parent is not an earlier line that left a model")
            if bytes.fromhex(said.parent.sha256) != self._models[before]:
                raise CheckError(f"line {number}: its parent is not the model that line {before + 1} left")
            if said.weights.came_in not in self._weights[before]:
                raise CheckError(f"line {number} began with other weights than line {before + 1} left")
        self._lines.add(before)
        self._outside += before is None
        if statement.leaves_model:
            expected = self._newest.get(said.branch)
            if expected is not None and before != expected:
                raise CheckError(f"line {number} does not begin with the model that line {expected + 1} left")
            self._newest[said.branch] = number - 1
        elif said.parent is not None and statement.digest != said.parent.sha256:
            raise CheckError(f"line {number} is not about the model that line {said.parent.sequence + 1} left")
        for one in said.records.learned:
            line = self._roots.get(one.root)
            if line is None or line[1] != "learn" or not self._lines.follows(number - 1, line[0]):
                raise CheckError(f"line {number}: no line that it follows from had learned its records")
            if one.count > line[2]:
                raise CheckError(f"line {number}: line {line[0] + 1} had learned {line[2]} records, not {one.count}")

    def head_covers(self) -> str:
        made, own = self._replayed, self.head
        if made.size != own.size:
            beyond = "; an append was interrupted, the next one completes it" if made.size == own.size + 1 else ""
            raise CheckError(f"the head covers {own.size} lines, the log has {made.size}{beyond}")
        if made != own:
            raise CheckError("the head is not that of these lines")
        if self._trusted.role(own.signer) != "operator" and own.signer != self._last_signer:
            raise CheckError("the head is signed by an auditor, and its last line by somebody else")
        if own.version < self._version:
            raise CheckError(f"the head is of version {own.version}, older than its lines")
        if self._recorded and moment_of(own.issued).timestamp() + _CLOCKS < self._recorded[-1]:
            raise CheckError("the head says that it is older than its last line")
        newer = next((size for size in stamped_sizes(self._path) if size > own.size), None)
        if newer is not None:
            raise CheckError(f"{TIMES} holds a head of {newer} lines, so that the newest lines were cut off")
        return f"{own.size} lines on {own.issued}, root {made.frontier.root().hex()}"

    def lineage(self) -> str:
        outside = f"; {self._outside} began outside this ledger" if self._outside else ""
        naming = f"; {len(self._naming)} name destroyed files, line {self._naming[0]} first" if self._naming else ""
        return self.said("lineage", f"every model follows from the one before{outside}{naming}")

    def folder(self) -> str:
        guide = self._path / GUIDE_FILE
        if (
            guide.is_symlink()
            or not guide.is_file()
            or hashlib.sha256(guide.read_bytes()).hexdigest() != self.head.guide
        ):
            raise CheckError(f"{GUIDE_FILE}: is not what the head names")
        known = {key.keyid for key in self._trusted.keys}
        files = sorted(one for one in (self._path / KEYS).glob("*") if not _is_passing(one))
        roles = dict(self.head.roles)
        for file in files:
            try:
                key = read_public(file)
            except InputError as error:
                raise CheckError(str(error)) from None
            holder = roles.pop(key.keyid, None)
            fits = key.keyid in known and not self.head.roles if holder is None else holder.name == file.stem
            exact = file.suffix == ".pub" and file.read_bytes() == public_pem(key).encode()
            if file.is_symlink() or not fits or not exact:
                raise CheckError(f"{KEYS}/{file.name}: is not one of the keys that the head names")
        if roles:
            raise CheckError(f"{KEYS}: the key of '{next(iter(roles.values())).name}' is missing")
        if not files:
            raise CheckError(f"{KEYS}: holds no key")
        unknown = sorted(one.name for one in self._path.iterdir() if not _belongs(one))
        unknown += sorted(f"{TIMES}/{one.name}" for one in (self._path / TIMES).glob("*") if not _is_of_times(one))
        if unknown:
            raise CheckError(f"{unknown[0]}: does not belong to a ledger")
        own = (
            "" if self.head.guide == hashlib.sha256(GUIDE.encode()).hexdigest() else "; its guide is of another version"
        )
        return f"{len(files)} public keys, and {GUIDE_FILE}{own}"

    def witnesses(self) -> str:
        trusted = self._trusted
        named = trusted.witnesses if trusted.quorum else ()
        try:
            return check_witnesses(
                self._path,
                self.head,
                lambda size: self._frontier(size).root(),
                trusted.operators,
                named,
                trusted.quorum,
            )
        except EnvelopeError as error:
            raise CheckError(str(error)) from None

    def continues(self, since: Path) -> str:
        if not since.is_file():
            raise InputError(f"{since}: no such file of a head")
        try:
            old = Head.read(since.read_bytes(), self._trusted.keys)
        except EnvelopeError as error:
            raise CheckError(f"{since.name}: {error}") from None
        if old.ledger != self.head.ledger:
            raise CheckError(f"{since.name}: is of another ledger")
        if old.size > len(self._begins) or self._frontier(old.size) != old.frontier:
            raise CheckError(f"the first {old.size} lines are not those that {since.name} covers")
        return f"{len(self._begins) - old.size} lines since then"

    def _frontier(self, size: int) -> Frontier:
        frontier = Frontier()
        with (self._path / LOG).open("rb") as stream:
            for _ in range(size):
                if line := stream.readline():
                    frontier = frontier.with_entry(line[:-1])
        return frontier

    def record(self, record: Path, receipt: Path, kind: Kind, *, of_model: bool) -> str:
        given = read_receipt(receipt)
        lines = {root: self._statement(self._roots[root][0]) for root in given.roots if root in self._roots}
        try:
            covered = covered_by(record, given, lines, kind)
        except EnvelopeError as error:
            raise CheckError(str(error)) from None
        if of_model and kind in ("learn", "forget"):
            newest = self._newest_model().predicate.sequence
            if not self._lines.follows(newest, covered.line - 1):
                raise CheckError(f"the model of branch '{self._branch}' does not follow from line {covered.line}")
        learned = "" if covered.learned is None else f"; line {covered.learned} had learned it"
        return f"line {covered.line} ({kind}) covers {record.name} by its {' and '.join(covered.forms)}{learned}"

    def times(self, roots: Sequence[Certificate]) -> str:
        with (self._path / LOG).open("rb") as stream:
            lines = (line[:-1] for line in stream)
            try:
                return check_times(self._path, self._trusted.keys, roots, lines, self.head.ledger, self._recorded)
            except EnvelopeError as error:
                raise CheckError(str(error)) from None

    def model(self, path: Path) -> str:
        folder = path / "model" if (path / "config.yaml").is_file() else path
        if not folder.is_dir():
            raise InputError(f"{path}: no such directory of a model")
        newest = self._newest_model()
        try:
            subject, files = directory_digest(folder)
        except InputError as error:
            raise CheckError(str(error)) from None
        what = f"{folder}, the model of this run," if folder != path else str(path)
        listed = newest.predicate.files
        if subject == newest.digest and files == (listed or files):  # names are not a part of the digest
            return f"{what} is the model of line {newest.line} ({newest.kind}) on branch '{self._branch}'"
        differing = next((name for name in sorted({*files, *listed}) if files.get(name) != listed.get(name)), "")
        which = f": {differing} differs" if listed else ""
        raise CheckError(f"{what} is not the model of line {newest.line}{which}")

    def recomputed(self, anew: Mapping[str, Any]) -> str:
        newest = self._newest_model()
        statistics = anew["recomputed"]["statistics"]
        if statistics not in newest.predicate.weights.left:
            raise CheckError(f"the images make the sums {statistics}, which line {newest.line} did not leave")
        if not anew["equal"]:
            raise CheckError(f"the images make the sums of line {newest.line}, and another head than the model's")
        return f"{anew['images']} images make the sums and the head of line {newest.line}, to the bit"

    def _newest_model(self) -> Statement:
        tip = self.head.tips.get(self._branch)
        if tip is None:
            known = ", ".join(sorted(self.head.tips)) or "none"
            raise CheckError(f"no line left a model on the branch '{self._branch}'; branches: {known}")
        return self._statement(tip.sequence)

    def _statement(self, sequence: int) -> Statement:
        with (self._path / LOG).open("rb") as stream:
            stream.seek(self._begins[sequence])
            return Statement.parse(payload_of(stream.readline()[:-1], LINE))


def _belongs(path: Path) -> bool:
    """Whether a file or a folder is one of a ledger's."""
    if path.is_symlink():
        return False
    if path.is_dir():
        return path.name in (KEYS, TIMES)
    return path.is_file() and (path.name in (LOG, HEAD_FILE, GUIDE_FILE, CHECKPOINT) or _is_passing(path))


def _is_of_times(path: Path) -> bool:
    """Whether a file is a stored head or a response."""
    named = re.fullmatch(r"[0-9]+\.(head\.json|tsr)", path.name) is not None
    return path.is_file() and not path.is_symlink() and (named or _is_passing(path))


def _is_passing(path: Path) -> bool:
    """Whether a file is one that a writer leaves for a moment: the lock, or a file before it has its name."""
    return path.name == f".{LOG}.lock" or (path.name.startswith(".") and ".partial-" in path.name)
