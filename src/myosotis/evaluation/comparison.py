"""One figure against another, and the answer that the interval of their difference gives.

Every verdict is made of these. A comparison has three outcomes: it holds, it does not, or the data cannot tell. An
answer is *yes* only where it is shown that a difference is within the margin, and *no* only where it is shown not to
be; each end of the interval of a difference is therefore a one-sided bound at the level of confidence. A question is
answered *yes* where all of its comparisons hold and *no* where one does not:

    >>> from myosotis.evaluation.intervals import Interval
    >>> figure, level = Interval(0.30, 0.2, 0.4, 40, 8), Interval(0.25, 0.2, 0.3, 60, 12)
    >>> near = Interval(0.05, -0.05, 0.15, 40, 8)
    >>> [compared("recall", figure, level, near, "at most", margin=margin).holds for margin in (0.2, 0.1, -0.1)]
    [True, None, False]
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import ConfigDict, computed_field

from myosotis.engine.result import ResultPart
from myosotis.evaluation.intervals import Interval, clopper_pearson
from myosotis.evaluation.membership import Trace

TOLERANCE = 1e-6
"""Figures that differ by no more than rounding are equal: a threshold of 0 is met by 0."""

MIN_UNITS = 4
"""With fewer independent units on a side no interval of a difference is trusted."""

ANSWERS = {True: "yes", False: "no", None: "undecided"}
"""The outcomes in words."""

_COMPUTED = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)
"""Of a part whose answers are computed from the rest, whatever a file says that they are."""

Rule = Literal["at most", "at least", "above"]


class Comparison(ResultPart):
    """One figure against another, or against a fixed level."""

    model_config = _COMPUTED

    name: str
    """Name of the figure."""
    value: Interval | None
    """The figure with its interval; null where it could not be measured."""
    against: Interval | None
    """What it is compared with; without ends where that is a fixed level."""
    against_of: str
    """Origin of what it is compared with."""
    difference: Interval | None
    """Value less ``against``; each end is a one-sided bound at the level of confidence."""
    rule: Rule
    """``at most`` or ``at least``, each up to the margin; ``above``: by a test."""
    margin: float
    """Difference that still counts as none."""
    total: int
    """Records; ``value.count`` of them could be measured."""
    incomparable: str | None = None
    """Reason why the two cannot be compared; null where they can."""
    p_value: float | None = None
    """One-sided p-value of the test, for the rule ``above``."""
    smallest_p_value: float | None = None
    """Smallest p-value that so few units can give at all."""
    confidence: float = 0.95
    """Level of confidence."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def holds(self) -> bool | None:
        """Whether the rule is shown to be met; False where it is shown not to be, else null."""
        if self.incomparable is not None or self.difference is None:
            return None
        if self.rule == "above":
            return self._is_above()
        low, high = self._ends()
        if low is None or high is None:
            return None
        if self.rule == "at least":
            low, high = -high, -low
        return True if high <= self.margin + TOLERANCE else False if low > self.margin + TOLERANCE else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def beyond(self) -> bool | None:
        """Whether the figure is shown to lie beyond the margin on the other side; of ``at most``: to be too low.

        Null where the level is fixed, which has no other side.
        """
        low, high = self._ends()
        if self.rule == "above" or low is None or high is None or self.against is None or not self.against.units:
            return None
        if self.rule == "at least":
            low, high = -high, -low
        return True if high < -self.margin - TOLERANCE else False if low >= -self.margin - TOLERANCE else None

    def _ends(self) -> tuple[float | None, float | None]:
        difference = self.difference
        if self.incomparable is not None or difference is None or difference.units < MIN_UNITS:
            return None, None
        return difference.low, difference.high

    def _is_above(self) -> bool | None:
        assert self.difference is not None  # noqa: S101 - the caller has looked
        if self.p_value is None:
            low, _ = self._ends()
            return None if low is None else low > 0
        if self.p_value <= 1 - self.confidence + 1e-9 and self.difference.mean > TOLERANCE:
            return True
        _, high = self._ends()
        return False if high is not None and high < self.margin else None

    @property
    def could_show(self) -> bool:
        """Whether any outcome of the test could have been significant with so few units."""
        return self.smallest_p_value is None or self.smallest_p_value <= 1 - self.confidence + 1e-9


def compared(
    name: str,
    value: Interval,
    against: Interval,
    difference: Interval,
    rule: Rule,
    *,
    against_of: str = "a fixed level",
    margin: float = 0.0,
    total: int | None = None,
    confidence: float = 0.95,
    incomparable: str | None = None,
) -> Comparison:
    """Return a comparison of two figures that were measured; arguments as the fields of :class:`Comparison`."""
    return Comparison(
        name=name,
        value=value,
        against=against,
        against_of=against_of,
        difference=difference,
        rule=rule,
        margin=margin,
        total=value.count if total is None else total,
        confidence=confidence,
        incomparable=incomparable,
    )


def unmeasured(name: str, reason: str, against_of: str, total: int) -> Comparison:
    """Return a comparison that cannot be made, which is listed and counts for nothing."""
    return Comparison(
        name=name,
        value=None,
        against=None,
        against_of=against_of,
        difference=None,
        rule="at most",
        margin=0.0,
        total=total,
        incomparable=reason,
    )


def fixed(value: float) -> Interval:
    """Return a level that was not measured.

    Example:
        >>> fixed(0.9).low is None
        True
    """
    return Interval(value, None, None, 0, 0)


def one_sided(confidence: float) -> float:
    """Return the level of a two-sided interval whose ends are one-sided bounds at a level of confidence.

    Example:
        >>> round(one_sided(0.95), 12)
        0.9
    """
    return 2 * confidence - 1


def answer(comparisons: Sequence[Comparison]) -> bool | None:
    """Return the answer to a question: no if one comparison says so, yes if all that can be made hold, else None.

    Example:
        >>> answer([]) is None
        True
    """
    return all_of(row.holds for row in comparisons if row.incomparable is None)


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """Return no if one answer is no, yes if there are some and all are yes, else None.

    Example:
        >>> all_of([True, None]), all_of([None, False]), all_of([True, True])
        (None, False, True)
    """
    given = list(answers)
    if False in given:
        return False
    return True if given and None not in given else None


def rest_works(kept: bool | None, works: bool | None, *, measured: bool) -> bool | None:
    """Return whether a model still works for everything else: the rest is kept, and its own answers are sound.

    Args:
        kept: Whether the rest is kept.
        works: Whether the model's own answers are sound.
        measured: Whether they were measured; else what is kept answers alone.

    Example:
        >>> rest_works(True, None, measured=False), rest_works(True, False, measured=True)
        (True, False)
    """
    return all_of([kept, works]) if measured else kept


class WorstSubject(ResultPart):
    """The subject that a mean hides: of those to forget the best remembered one, of those to keep the worst kept."""

    subject: str
    """Salted fingerprint of the subject; of a record without one, of the record."""
    before: float
    """Figure of its records before."""
    after: float
    """Figure of its records after."""
    level: float | None
    """What the figure would be if the model had never seen them; null where nothing tells."""
    whole: bool
    """Whether it is wholly remembered, or wholly lost: at most the margin of what was known is gone, or is left."""
    unseen: int | None = None
    """Subjects that were never seen; null where it was not compared with any."""
    unseen_as_high: int | None = None
    """Of these, how many have a figure as high as it has after, or higher."""


class SubjectsHurt(ResultPart):
    """How many subjects lost something, and how many such subjects there can be: an exact bound."""

    model_config = _COMPUTED

    hurt: int
    """Subjects that lost more than ``loss``."""
    subjects: int
    """Subjects that were measured; the model did not train on them."""
    loss: float
    """Share of what was known of a subject whose loss counts."""
    allowed: float
    """Share of subjects that may be hurt."""
    at_least: float
    """Exact one-sided lower bound of the share of such subjects who are hurt (Clopper and Pearson, 1934)."""
    at_most: float
    """Exact one-sided upper bound of it."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def holds(self) -> bool | None:
        """Whether the share is shown to be allowed; False where it is shown not to be, else null."""
        return True if self.at_most <= self.allowed else False if self.at_least > self.allowed else None

    @classmethod
    def among(cls, hurt: int, subjects: int, loss: float, allowed: float, confidence: float) -> "SubjectsHurt":
        """Return the count with its bounds.

        Example:
            >>> found = SubjectsHurt.among(0, 20, 0.1, 0.15, 0.95)
            >>> round(found.at_most, 3), found.holds
            (0.139, True)
        """
        low, high = clopper_pearson(hurt, subjects, one_sided(confidence))
        return cls(hurt=hurt, subjects=subjects, loss=loss, allowed=allowed, at_least=low, at_most=high)


class ForgettingVerdict(ResultPart):
    """The answers about a forgetting, with the comparisons that they rest on; null where an answer cannot be given."""

    known: bool | None
    """Whether the model is shown to have known what was to be forgotten."""
    forgotten: bool | None
    """Whether it is forgotten: what is left is within the margin of what a model shows that never saw it."""
    kept: bool | None
    """Whether the rest is kept."""
    sure: bool | None
    """Whether *forgotten* and *kept* are both decided."""
    keeping: list[Comparison]
    """Comparisons of *kept*."""
    confidence: float
    """Level of confidence."""

    @property
    def stands(self) -> bool:
        """Whether the model was shown to know the data before, and not to know it after."""
        return self.known is True and self.forgotten is True

    @property
    def rest(self) -> bool | None:
        """Whether the model still works for everything else."""
        return self.kept


class UnlearningVerdict(ForgettingVerdict):
    """The verdict on a model that was made to forget, and not by leaving out: tests have to show it."""

    as_unseen: bool | None
    """Whether nothing tells the data from data that was never seen, in either direction."""
    over_forgotten: bool | None
    """Whether the model knows less of it than of data that it never saw; null where no test could show it."""
    reasons: dict[str, str]
    """By question, why it could not be answered."""
    forgetting: list[Comparison]
    """Comparisons of *forgotten*, besides a goal of the method."""
    worst_kept: WorstSubject | None
    """The subject, or class, that lost most of what is to be kept."""
    trace: Trace | None
    """What an attacker learns from the loss; null where there is nothing to compare with."""
    margin: float
    """Largest share of what had been learnt that may be left."""
