"""``result.json`` of an exact forgetting."""

from typing import Literal

from pydantic import Field

from myosotis.engine.result import Cost, Interval, Lineage, Result, ResultPart
from myosotis.evaluation.comparison import ForgettingVerdict


class ExactCounts(ResultPart):
    """Numbers of images."""

    forget: int
    """Images that were to be forgotten."""
    by_class: dict[str, int]
    """The same by class."""
    records_before: int
    """Records in the sums before."""
    records_after: int
    """Records in the sums after."""
    copies_left: int
    """Records with the pixels of a forgotten image that are still in the sums, under whatever class: they were learned
    more than once."""
    copies_by_class: dict[str, int] = Field(default_factory=dict)
    """The same by class; empty in results of earlier versions."""
    remaining: int
    """Images of ``data.train`` that are in the sums after."""
    test: int
    """Test images."""


class DigestPair(ResultPart):
    """HMAC-SHA256 of the sums and of the head under the key of the learner, which its list of records holds."""

    statistics: str
    """Of the sums, with the description of head and body."""
    head: str
    """Of the head that they give."""


class ExactDigests(ResultPart):
    """Digests of the learner: equal ones belong to learners of the same key that learned the same records. Without the
    key nobody can test what was learned."""

    before: DigestPair
    """Before."""
    after: DigestPair
    """After: those that the learner would have without the forgotten images."""


class Accuracy(Interval):
    """Accuracy with its exact interval; null where there is no image."""

    accuracy: float | None
    """Share of right answers."""


class ExactVerdict(ForgettingVerdict):
    """Four questions, with the comparison that the third rests on; null where an answer cannot be given."""


class ExactLineage(Lineage):
    """What came in and went out."""

    model_in: str
    """The sums that came in."""
    model_out: str
    """The sums that went out."""
    body: str
    """The frozen body."""


class ExactResult(Result):
    """Result of ``unlearn-exact``."""

    kind: Literal["unlearn-exact"]
    head: str
    """Head of the learner."""
    classes: list[str]
    """Classes of the learner after."""
    classes_gone: list[str]
    """Classes whose last record went."""
    images: ExactCounts
    """Numbers of images."""
    digests: ExactDigests
    """Digests of the learner."""
    recomputed: bool
    """Whether the sums were made anew from the remaining images."""
    metrics: dict[str, dict[str, Accuracy]]
    """By model (``before``, ``after``) and set (``forget``, ``remaining``, ``test``)."""
    fingerprints: list[str]
    """Salted fingerprint of each forgotten image."""
    verdict: ExactVerdict
    """The answers to the four questions."""
    lineage: ExactLineage
    cost: Cost
    """What the job cost."""
