"""The statements of a ledger: in-toto Statement v1 (https://in-toto.io/Statement/v1), parsed once into typed values.

A job's result becomes a :class:`~myosotis.ledger.claims.Claim`, :func:`make_statement` gives it a place in a ledger, an
envelope signs it as a line. Whoever reads a line calls :meth:`Statement.parse`, which refuses everything that this file
does not know: kinds, versions, keys, a second subject, files that do not make the subject. Nothing else reads JSON of a
line. What must not change: a field that was ever written, for lines are never rewritten.

    statement = Statement.parse(payload)
    statement.kind, statement.line, statement.predicate.run.name
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from myosotis.engine.result import rfc3339
from myosotis.ledger.envelopes import EnvelopeError, parse_canonical

STATEMENT = "https://in-toto.io/Statement/v1"
"""Type of every statement."""
VERSION = "v0.2"
"""Version of the statements and heads that are written."""
VERSIONS = ("v0.1", VERSION)
"""Versions that are read."""
MAIN = "main"
"""Name of the branch that lines are on unless another is given."""

Kind = Literal["learn", "forget", "audit", "destroy", "release"]
"""What happened in a line."""
KINDS = get_args(Kind)

_TYPES: Mapping[str, tuple[Kind, str]] = {
    f"urn:myosotis:ledger:{kind}:{version}": (kind, version) for kind in KINDS for version in VERSIONS
}
_MODEL, _COMMITMENTS = "model", "commitments"


def check_moment(text: str) -> str:
    """Return a time as RFC 3339 writes it in UTC, to the second.

    Raises:
        ValueError: It is another form, or no time.
    """
    if not text.endswith("Z") or rfc3339(moment_of(text)) != text:
        raise ValueError("a time is written as 2026-05-04T03:02:01Z")
    return text


def moment_of(text: str) -> datetime:
    """Return the time that a text names.

    Raises:
        ValueError: It names none.
    """
    return datetime.fromisoformat(text)


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Moment = Annotated[str, AfterValidator(check_moment)]
Whole = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a signed document: no field but the declared ones, of exactly their types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Digest(Part):
    """A digest of in-toto."""

    sha256: Sha256
    """SHA-256."""


class Subject(Part):
    """What a statement is about."""

    name: str
    """``model``; ``commitments`` of a line that destroyed; in v0.1 the name of a destroyed file."""
    digest: Digest
    """Of the model, see :func:`~myosotis.ledger.claims.directory_digest`, or the root of the commitments."""


class Parent(Part):
    """The line whose model this one began with."""

    sequence: Whole
    """Number of lines before it."""
    sha256: Sha256
    """Digest of its model."""


class Weights(Part):
    """What results call the models that came in and that were left."""

    came_in: str | None = Field(alias="in")
    """None for a new model."""
    left: tuple[str, ...] = Field(alias="out", strict=False)
    """Names of the model that was left: as a whole, and without what belongs to a learner alone."""


class RunFacts(Part):
    """The run that a line is of, as its result names it."""

    name: str
    """Name of the run; of files, their number."""
    kind: str
    """Kind of its job."""
    method: str | None
    """Name of its method."""
    seed: int | str | None = None
    """Its seed; one beyond 2^53 is text."""
    started: str | None = None
    """When it was begun."""
    finished: str | None = None
    """When it was finished."""
    operator: str | None = None
    """Person or organisation that its configuration names as responsible."""


class Tool(Part):
    """The program that wrote a line."""

    name: str
    """Its name."""
    version: str
    """Its version."""


class Cost(Part):
    """What a run cost."""

    seconds: float
    """Seconds of all its phases."""


class LearnedBefore(Part):
    """An earlier line that had learned records."""

    root: Sha256
    """Root of its commitments."""
    count: Annotated[int, Field(ge=1)]
    """How many of the records it had learned."""


class Records(Part):
    """The records of a line."""

    count: Whole | None
    """Their number; None if the run does not say."""
    scheme: str | None = None
    """Version of the commitments."""
    root: Sha256 | None = None
    """Merkle root of the commitments; None if there are none."""
    commitments: Annotated[int, Field(ge=1)] | None = None
    """Number of commitments: a photo has two."""
    learned: tuple[LearnedBefore, ...] = Field(default=(), strict=False)
    """Earlier lines that had learned them."""

    @model_validator(mode="after")
    def _whole(self) -> "Records":
        if (self.root is None) != (self.commitments is None) or (self.root is None and self.learned):
            raise ValueError("'root', 'scheme' and 'commitments' go together")
        if self.root is not None and (self.count is None or self.count < 1 or (self.commitments or 0) < self.count):
            raise ValueError("there are fewer commitments than records")
        if sum(one.count for one in self.learned) > (self.count or 0):
            raise ValueError("more records were learned before than there are")
        return self


class Predicate(Part):
    """What a line says."""

    ledger: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    """Random identifier of the ledger."""
    sequence: Whole
    """Number of lines before this one."""
    previous: Sha256 | None
    """SHA-256 of the line before."""
    branch: Annotated[str, Field(min_length=1)]
    """Branch of the line."""
    recorded_on: Moment = Field(alias="recordedOn")
    """When the line was signed, by its signer's clock."""
    parent: Parent | None
    """The line whose model this one began with; None for a model from outside."""
    weights: Weights
    """Names of the models that came in and that were left."""
    files: dict[str, Sha256]
    """SHA-256 of each file of the model; empty where they are not listed."""
    run: RunFacts
    """The run."""
    evidence: dict[str, Sha256 | None]
    """SHA-256 of files that show what is claimed, by their names."""
    tool: Tool | None = None
    """The program."""
    config: Digest | None = None
    """Of the run's ``config.yaml``."""
    verdict: dict[str, JsonValue] | None = None
    """The verdict of the run, or of its second audit."""
    cost: Cost | None = None
    """What the run cost."""
    records: Records = Records(count=None)
    """The records that were learned or forgotten, or the files that were destroyed."""
    models: tuple[Whole, ...] = Field(default=(), strict=False)
    """Of a line that destroyed: numbers of lines before those whose models were destroyed."""
    request: dict[str, JsonValue] | None = None
    """What the deletion request says of itself."""
    statistics: dict[str, dict[str, str]] | None = None
    """Keyed digests of the sums and the head of a learner that forgets exactly, before and after."""
    recipient: str | None = None
    """Of a release: who was given the model."""


class Statement(Part):
    """A statement; :meth:`parse` reads one."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    """Type of every statement."""
    subject: tuple[Subject, ...] = Field(min_length=1, strict=False)
    """What it is about."""
    predicate_type: str = Field(alias="predicateType")
    """Kind and version."""
    predicate: Predicate
    """What it says."""

    @classmethod
    def parse(cls, payload: bytes) -> "Statement":
        """Read a statement.

        Args:
            payload: Payload of an envelope.

        Raises:
            EnvelopeError: It has another form, or says what no version of this file knows; the fault is named.
        """
        return parsed(cls, parse_canonical(payload), "the statement")

    @property
    def kind(self) -> Kind:
        """What happened."""
        return _TYPES[self.predicate_type][0]

    @property
    def version(self) -> str:
        """Version of the statement."""
        return _TYPES[self.predicate_type][1]

    @property
    def line(self) -> int:
        """Number of the line, counted from 1."""
        return self.predicate.sequence + 1

    @property
    def digest(self) -> str:
        """SHA-256 of the model, or the root of the commitments to what was destroyed."""
        return self.subject[0].digest.sha256

    @property
    def leaves_model(self) -> bool:
        """Whether the line is of a job that left a model, so that the next one can begin with it."""
        return self.kind in ("learn", "forget")

    @property
    def names_destroyed(self) -> bool:
        """Whether the line names destroyed files by name and plain SHA-256, as lines of v0.1 do."""
        return self.kind == "destroy" and self.version == "v0.1"

    @property
    def count(self) -> int | None:
        """Number of records, or of destroyed files; None if the line does not say."""
        return len(self.subject) if self.names_destroyed else self.predicate.records.count

    @model_validator(mode="after")
    def _known(self) -> "Statement":
        if self.predicate_type not in _TYPES:
            raise ValueError(f"its kind or version is unknown: {self.predicate_type[:80]}")
        if not self.names_destroyed:
            name = _COMMITMENTS if self.kind == "destroy" else _MODEL
            if [one.name for one in self.subject] != [name]:
                raise ValueError(f"its subject must be one '{name}'")
        said = self.predicate
        if said.files and digest_of(said.files) != self.digest:
            raise ValueError("its files do not make its subject")
        if self.kind == "destroy" and not self.names_destroyed and said.records.root != self.digest:
            raise ValueError("its commitments are not its subject")
        if self.kind == "destroy" and said.parent is not None:
            raise ValueError("a line that destroyed has no parent")
        if self.kind != "destroy" and said.models:
            raise ValueError("only a line that destroyed names models of other lines")
        if self.leaves_model and not said.evidence.get("result.json"):
            raise ValueError("it names no result.json as evidence")
        if self.kind == "release" and said.parent is None:
            raise ValueError("it releases a model that no line left")
        if self.kind == "audit" and said.parent is None and self.version != "v0.1":
            raise ValueError("it audits a model that no line left")
        return self


PartT = TypeVar("PartT", bound=Part)


def parsed(model: type[PartT], value: Any, what: str) -> PartT:
    """Return a part of a signed document.

    Args:
        model: Its type.
        value: Its JSON.
        what: What it is called in an error.

    Raises:
        EnvelopeError: It is damaged, or not known; the first fault is named.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        text = fault["msg"].removeprefix("Value error, ")
        raise EnvelopeError(f"{what} is damaged or unknown{f', {where}' if where else ''}: {text}") from None


def digest_of(files: Mapping[str, str]) -> str:
    """Return the SHA-256 over the SHA-256 of files, in the order of their paths, part by part.

    Args:
        files: SHA-256 by path.
    """
    digests = [bytes.fromhex(files[name]) for name in sorted(files, key=lambda name: name.split("/"))]
    return hashlib.sha256(b"".join(digests)).hexdigest()
