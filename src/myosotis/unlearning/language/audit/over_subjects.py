"""Figures of records as figures of subjects, for every question of a verdict: units, means, intervals, differences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import MIN_UNITS, one_sided
from myosotis.evaluation.intervals import Interval, student_change, student_difference, student_interval
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.sets import AuditSets, subjects_of

Values = Mapping[str, Tensor]
Unit = Literal["subject", "record"]

MEASURABLE_SHARE = 0.5
"""Smallest share of the records of a set that a figure must cover to count."""

LEAST_KNOWN = 0.05
"""A figure that was less than this above its level before unlearning cannot tell what is left."""

_OF_TOKENS = ("probability", "top5")


def units_to_forget(forget: Sequence[Example], *, paired: bool) -> tuple[list[str | int], Unit]:
    """Return the unit of each record to forget, and what units are.

    They are subjects. With less than four of them nothing can be said of people in general; with a reference something
    can be said of these very records, of which those with the same facts, or the same tokens, are one.

    Args:
        forget: The records, or what they are reworded to.
        paired: Whether there is a reference.
    """
    subjects = subjects_of(forget)
    if not paired or len(set(subjects)) >= MIN_UNITS:
        return subjects, "subject"
    keys = [(own.subject, tuple(sorted(own.marked)) or own.input_ids) for own in forget]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys], "record"


def of_facts(figure: str, own: Values, other: Values) -> str:
    """Return the name of a figure of tokens: of facts where most records of both sets have some, else of all tokens."""
    if figure not in _OF_TOKENS:
        return figure
    name = f"fact_{figure}"
    both = all(
        name in rows and int((~rows[name].isnan()).sum()) >= MEASURABLE_SHARE * len(rows[name]) for rows in (own, other)
    )
    return name if both else f"token_{figure}"


def share_over(values: Tensor, groups: Sequence[str | int], confidence: float) -> Interval:
    """Return Student's interval of a figure in [0, 1]."""
    return student_interval(values, groups, level=confidence).transformed(lambda end: min(max(end, 0.0), 1.0))


def mean_over(values: Tensor, groups: Sequence[str | int]) -> float:
    """Return the mean over subjects."""
    return student_interval(values, groups).mean


def difference_over(
    values: Tensor,
    others: Tensor,
    groups: Sequence[str | int],
    other_groups: Sequence[str | int],
    confidence: float,
    *,
    paired: bool,
) -> Interval:
    """Return values less others, of the same records or of others, with a one-sided bound at either end."""
    level = one_sided(confidence)
    if paired:
        return student_change(values, others, groups, level=level)
    return student_difference(values, others, groups, other_groups, level=level)


def unseen_level(before: Audit, sets: AuditSets, figure: str) -> float | None:
    """Return the mean over unseen subjects, where most unseen records have the figure."""
    values = before.values.get("unseen", {}).get(figure)
    if values is None or int((~values.isnan()).sum()) < MEASURABLE_SHARE * len(values):
        return None
    return mean_over(values, subjects_of(sets.unseen))


def shown_subject(subject: str | int, name_of: Callable[[str], str]) -> str:
    """Return what may be shown of a subject; a record without one is named by its number."""
    return f"record {subject + 1}" if isinstance(subject, int) else name_of(subject)
