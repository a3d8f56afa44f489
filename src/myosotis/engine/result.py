"""``result.json``: the head that all kinds of jobs share, and the model that each kind extends it to."""

from datetime import datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

RESULT_SCHEMA_VERSION = 4
"""Raised whenever a key of ``result.json`` changes its meaning or is removed."""


class ResultPart(BaseModel):
    """A part of ``result.json``; an unknown key is an error, descriptions are the docstrings of the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @classmethod
    def note(cls, field: str) -> str:
        """Return what a field is, in the words of its docstring and without their full stop: its note in a table."""
        return " ".join((cls.model_fields[field].description or "").split()).rstrip(".").replace("``", "")


class OpenPart(ResultPart):
    """A part whose further keys depend on the job."""

    model_config = ConfigDict(extra="allow", frozen=True, use_attribute_docstrings=True)


class Cost(OpenPart):
    """What a job cost."""

    seconds: dict[str, float]
    """Seconds by phase, over all sessions of the run."""
    last_session_seconds: float
    """Seconds of the session that finished the run."""
    peak_memory_bytes: int = Field(ge=0)
    """Most memory in use in that session: of the accelerator if there is one, else of the process."""


class StreamCost(Cost):
    """What learning a stream cost."""

    task_seconds: list[float | None]
    """Training seconds of each task; null where an earlier session did a part of it."""
    steps: int
    """Optimisation steps."""
    images: int
    """Images, or views of images, that passed through the network in training."""

    @property
    def training_seconds(self) -> float | None:
        """Training seconds of all tasks; None where an earlier session did a part of one."""
        known = [value for value in self.task_seconds if value is not None]
        return sum(known) if len(known) == len(self.task_seconds) else None


class Interval(OpenPart):
    """A figure with its confidence interval."""

    low: float | None
    """Lower end; null where there is no interval."""
    high: float | None
    """Upper end."""
    count: int
    """Samples that the figure is of."""


class Lineage(ResultPart):
    """What came in and went out: models by the SHA-256 of their weights, data by salted fingerprints."""

    data: dict[str, str | list[str]]
    """Fingerprints of the data, by the name of the set."""
    learned: str | None = None
    """Fingerprint of the images that were learned, by which a ledger checks records; null where it checks others."""
    model_in: str | None = None
    """The model that came in; null where it began from fresh weights."""
    model_out: str | None = None
    """The model that went out; null where none is left."""


class Result(ResultPart):
    """Head of every ``result.json``."""

    schema_version: Literal[4]
    """Version of this schema."""
    started: AwareDatetime | None
    """Time at which the run was created, RFC 3339 in UTC."""
    finished: AwareDatetime
    """Time at which it was finished."""
    request: dict[str, Any] | None
    """What the deletion request says of itself, where there is one: ``id``, ``received``, ``legal_basis``,
    ``deadline``, ``searched``, ``untreated``, ``informed``."""
    operator: str | None = None
    """Person or organisation that the configuration names as responsible."""
    kind: str
    """Kind of the job, as its configuration says it."""
    name: str
    """Name of the run."""
    method: str | None
    """Name of the method; null where a job compares several."""
    seed: int
    """Seed of every random choice."""
    lineage: Lineage
    """Where the model comes from."""
    cost: Cost
    """Seconds by phase, memory, and what else the job counts."""


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339 writes it.

    Example:
        >>> from datetime import UTC
        >>> rfc3339(datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC))
        '2026-05-04T03:02:01Z'
    """
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


class FailedRuns(ResultPart):
    """Runs that failed in the same way."""

    phase: str
    """Phase of the runs."""
    kind: str
    """``diverged`` or ``failed``."""
    reason: str
    """What the first of them said."""
    count: int
    """Number of runs."""


class LeftOut(ResultPart):
    """What could not be run."""

    runs: int
    """Number of runs that did not fit the memory."""
    reason: str
    """What the allocator said of the first."""
