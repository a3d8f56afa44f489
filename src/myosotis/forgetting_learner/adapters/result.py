"""``result.json`` of ``learn-language`` and ``unlearn-adapters``."""

from typing import Literal

from myosotis.engine.result import Cost, Lineage, Result, ResultPart
from myosotis.evaluation.comparison import Comparison, ForgettingVerdict
from myosotis.evaluation.intervals import Interval


class LearnerDigestsPart(ResultPart):
    """Digests of the learner: equal ones belong to learners of one key that learned the same records."""

    root: str
    """Root of a Merkle tree over the description of the learner, its router and every subject."""
    router: str
    """HMAC-SHA256 of the router's sums."""
    head: str
    """HMAC-SHA256 of the head that they give."""


class PromptFigures(ResultPart):
    """What is answered to one set of prompts; intervals take a subject as one unit."""

    facts: Interval | None
    """Share of the facts' tokens that are the likeliest ones; null where no record has facts."""
    facts_of_model: Interval | None
    """The same of the model without adapters."""
    right: Interval | None
    """Share of prompts that go to the adapter of their subject; null where there is none for it."""
    any: Interval
    """Share of prompts that go to an adapter."""


class LanguageLearningVerdict(ResultPart):
    """Two questions, with the comparisons that they rest on; null where an answer cannot be given."""

    learnt: bool | None
    """Whether the subjects are shown to be known, in their own wording and in others."""
    apart: bool | None
    """Whether prompts about nobody who was learnt are shown to be left to the model."""
    learning: list[Comparison]
    """Comparisons of *learnt*."""
    parting: list[Comparison]
    """Comparisons of *apart*."""
    confidence: float
    """Level of confidence."""


class LanguageLearningResult(Result):
    """Result of ``learn-language``."""

    kind: Literal["learn-language"]
    subjects: int
    """Subjects with an adapter."""
    records: int
    """Records that were learnt."""
    trained: int
    """Adapters that this run trained; those that its predecessor had are not among them."""
    naming_others: int
    """Records that hold the whole name of another subject: to forget that one does not reach them."""
    adapter_bytes: int
    """Bytes of one adapter in bfloat16."""
    digests: dict[str, LearnerDigestsPart]
    """Digests of the learner ``after``, and ``before`` where it went on from an earlier one."""
    figures: dict[str, PromptFigures]
    """By set: ``learnt``, ``reworded``, ``unseen``, ``general``."""
    verdict: LanguageLearningVerdict
    """The answers."""
    cost: Cost
    """What the job cost."""


class AdapterCounts(ResultPart):
    """Numbers of subjects and records."""

    forget: int
    """Records that were taken out."""
    copies_left: int
    """Records with the same words that stay."""
    named_left: int
    """Other records that stay and hold the whole name of a subject that was dropped."""
    subjects_before: int
    """Subjects with an adapter before."""
    subjects_after: int
    """Subjects with an adapter after."""
    records_before: int
    """Records in the router before."""
    records_after: int
    """Records in the router after."""
    dropped: int
    """Adapters that were dropped."""
    retrained: int
    """Adapters that were trained anew, as some of their records stay."""
    unchanged: int
    """Adapters that are equal to those before, byte for byte."""
    relearned: int
    """Adapters that were trained again to check them."""
    relearned_equal: int
    """Those of them whose digest is the one on file."""


class RoutedFigures(ResultPart):
    """Where prompts go before and after; of stored features, by the score alone."""

    before: Interval
    """Before."""
    after: Interval
    """After."""


class AdapterForgettingVerdict(ForgettingVerdict):
    """Four questions; null where one cannot be answered. All that stays is looked at, so nothing is compared."""


class AdapterForgettingResult(Result):
    """Result of ``unlearn-adapters``."""

    kind: Literal["unlearn-adapters"]
    records: AdapterCounts
    """Numbers of subjects and records."""
    digests: dict[str, LearnerDigestsPart]
    """Digests of the learner ``before``, and ``after``: those of a learner that never saw the records."""
    remaining: RoutedFigures | None
    """Share of the prompts that stay which go to the adapter of their subject; null where none is left."""
    forgotten: RoutedFigures
    """Share of the forgotten prompts that go to some adapter: after, to a neighbour's."""
    verdict: AdapterForgettingVerdict
    """The answers to the four questions."""
    lineage: Lineage
    cost: Cost
    """What the job cost."""
