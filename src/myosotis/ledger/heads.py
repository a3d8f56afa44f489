"""The head of a ledger: a signed summary of all its lines, and whose keys may sign what.

A head is replayed from the lines by :meth:`Head.with_line`, so that who has the lines needs to believe nothing of it
but the keys. Its keys are bound to roles: an operator signs what happened to the model, an auditor what an audit found,
a witness no line, but checkpoints, see :mod:`~myosotis.ledger.checkpoints`. Operators sign heads; an auditor signs the
head that covers the auditor's own line, and no other.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from securesystemslib.signer import SSlibKey

from myosotis.engine.result import rfc3339
from myosotis.ledger.envelopes import HEAD, EnvelopeError, opened
from myosotis.ledger.guide import GUIDE
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.statements import (
    VERSION,
    VERSIONS,
    Kind,
    Moment,
    Part,
    Sha256,
    Statement,
    Whole,
    parsed,
)

Role = Literal["operator", "auditor", "witness"]
"""What the holder of a key does."""

MAY_SIGN: Mapping[Role, frozenset[Kind]] = {
    "operator": frozenset({"learn", "forget", "destroy", "release"}),
    "auditor": frozenset({"audit"}),
    "witness": frozenset(),
}
"""Kinds of lines that each role may sign."""


def role_for(kind: Kind) -> Role:
    """Return the role whose keys sign lines of a kind."""
    return next(role for role, kinds in MAY_SIGN.items() if kind in kinds)


class Holder(Part):
    """The holder of a key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of the key's file in the ledger, without its end."""
    role: Role
    """What the key may sign."""


class Tip(Part):
    """The newest line of a branch that left a model: what later lines must fit."""

    sequence: Whole
    """Number of lines before it."""
    subject: Sha256
    """Digest of its model."""
    weights: tuple[str, ...] = Field(strict=False)
    """Names of the model that was left."""
    result: Sha256
    """SHA-256 of the run's ``result.json``."""


class HeadContent(Part):
    """The content of a head's envelope."""

    version: str
    """Version."""
    ledger: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    """Random identifier of the ledger."""
    size: Whole
    """Number of lines."""
    bytes: Whole
    """Length of the log."""
    last: Sha256 | None
    """SHA-256 of the last line."""
    root: Sha256
    """Merkle root over the lines."""
    frontier: tuple[Sha256, ...] = Field(strict=False)
    """Roots of the complete subtrees, the largest first."""
    tips: dict[str, Tip]
    """The newest line of each branch."""
    guide: Sha256
    """SHA-256 of ``VERIFY.md``."""
    issued_on: Moment = Field(alias="issuedOn")
    """When the head was signed, by its signer's clock."""
    roles: dict[str, Holder] = Field(default_factory=dict)
    """Holders of the keys, by the keys' identifiers; none in v0.1."""

    @model_validator(mode="after")
    def _covers_tips(self) -> "HeadContent":
        if any(tip.sequence >= self.size for tip in self.tips.values()):
            raise ValueError("a tip is a line that the head does not cover")
        return self


@dataclass(frozen=True)
class Head:
    """The head of a ledger.

    Attributes:
        ledger: Random identifier of the ledger.
        size: Number of lines.
        length: Bytes of the log.
        last: SHA-256 of the last line; None where there is none.
        frontier: Roots of the complete subtrees over the lines.
        tips: By the name of a branch, its newest line that left a model.
        roles: Holders of the keys, by the keys' identifiers.
        guide: SHA-256 of ``VERIFY.md``, which stays as the version of this package that began the ledger wrote it.
        issued: When it was signed.
        signer: Identifier of the key that signed it.
        version: Version that it was read in.
    """

    ledger: str
    size: int = 0
    length: int = 0
    last: str | None = None
    frontier: Frontier = field(default_factory=Frontier)
    tips: Mapping[str, Tip] = field(default_factory=dict)
    roles: Mapping[str, Holder] = field(default_factory=dict, compare=False)
    guide: str = field(default=hashlib.sha256(GUIDE.encode()).hexdigest(), compare=False)
    issued: str = field(default="", compare=False)
    signer: str = field(default="", compare=False)
    version: str = field(default=VERSION, compare=False)

    def content(self) -> dict[str, Any]:
        """Return it for an envelope, as of now, or as of the head before where the clock has gone back."""
        return {
            "version": VERSION,
            "ledger": self.ledger,
            "size": self.size,
            "bytes": self.length,
            "last": self.last,
            "root": self.frontier.root().hex(),
            "frontier": [root.hex() for root in self.frontier.roots],
            "tips": {name: tip.model_dump(mode="json") for name, tip in self.tips.items()},
            "guide": self.guide,
            "issuedOn": max(self.issued, rfc3339(datetime.now(UTC))),
            "roles": {key: holder.model_dump(mode="json") for key, holder in self.roles.items()},
        }

    @classmethod
    def read(cls, envelope: bytes, keys: Iterable[SSlibKey]) -> "Head":
        """Read a head.

        Args:
            envelope: Content of ``head.json``.
            keys: Keys, one of which must have signed it.

        Raises:
            EnvelopeError: It is damaged, of an unknown version, or signed by none of the keys.
        """
        value, signer = opened(envelope, HEAD, keys)
        if isinstance(value, dict) and value.get("version") not in VERSIONS:
            raise EnvelopeError(f"is of version {str(value.get('version'))[:20]}, this program writes {VERSION}")
        content = parsed(HeadContent, value, "the head")
        try:
            frontier = Frontier(content.size, tuple(map(bytes.fromhex, content.frontier)))
        except ValueError as error:
            raise EnvelopeError(f"the head is damaged: {error}") from None
        if frontier.root().hex() != content.root:
            raise EnvelopeError("the head is damaged: its frontier does not make its root")
        if content.version != "v0.1" and signer not in content.roles:
            raise EnvelopeError("the head is signed by a key that it gives no role")
        return cls(
            content.ledger,
            content.size,
            content.bytes,
            content.last,
            frontier,
            content.tips,
            content.roles,
            content.guide,
            content.issued_on,
            signer,
            content.version,
        )

    def with_line(self, line: bytes, statement: Statement) -> "Head":
        """Return the head after one more line; only lines that leave a model change the tips."""
        tips = self.tips
        if statement.leaves_model:
            tips = {**tips, statement.predicate.branch: tip_of(statement)}
        return replace(
            self,
            size=self.size + 1,
            length=self.length + len(line) + 1,
            last=hashlib.sha256(line).hexdigest(),
            frontier=self.frontier.with_entry(line),
            tips=tips,
        )

    def name_of(self, keyid: str) -> str:
        """Return the name of a key's holder, or the beginning of its identifier where the head knows none."""
        return self.roles[keyid].name if keyid in self.roles else keyid[:8]


def tip_of(statement: Statement) -> Tip:
    """Return what later lines must fit, of a line that left a model."""
    said = statement.predicate
    return Tip(
        sequence=said.sequence,
        subject=statement.digest,
        weights=said.weights.left,
        result=str(said.evidence["result.json"]),
    )


def roles_of_files(names: Mapping[str, str]) -> dict[str, Holder]:
    """Return the roles of the keys of a ledger whose head gives them none: ``operator`` signs everything but audits.

    Args:
        names: Names of the files of the keys, by the keys' identifiers.
    """
    return {
        keyid: Holder(name=name, role="operator" if name == "operator" else "auditor") for keyid, name in names.items()
    }
