"""Is the rest kept? Held-out records and general text, after unlearning against before, in the mean and by subject."""

import math
from collections.abc import Callable, Sequence

from myosotis.evaluation.comparison import Comparison, SubjectsHurt, WorstSubject, compared, fixed, one_sided
from myosotis.evaluation.intervals import Interval, ratio_interval, student_change
from myosotis.evaluation.rank_test import group_means
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.over_subjects import (
    LEAST_KNOWN,
    of_facts,
    share_over,
    shown_subject,
    unseen_level,
)
from myosotis.unlearning.language.audit.sets import AuditSets, subjects_of
from myosotis.unlearning.language.audit.settings import VerdictSettings

_HURT = 0.1
"""A subject is hurt where more than this share of what was known of it is lost."""


def keeping_comparisons(before: Audit, after: Audit, sets: AuditSets, settings: VerdictSettings) -> list[Comparison]:
    """Return the comparisons of means that say whether the rest is kept; none without held-out records.

    What may be lost is a share of what was known of the held-out records: of their figure before, less that on unseen
    records where there are some.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: What counts as kept.
    """
    rows, ends = [], one_sided(settings.confidence)
    if "held_retain" in after.values:
        was, now = before.values["held_retain"], after.values["held_retain"]
        groups = subjects_of(sets.held_retain)
        for figure in (of_facts("probability", was, now), "answer_recall"):
            if figure not in was or figure not in now:
                continue
            then = share_over(was[figure], groups, settings.confidence)
            level = unseen_level(before, sets, figure) or 0.0
            rows.append(
                compared(
                    f"held_retain_{figure}",
                    share_over(now[figure], groups, settings.confidence),
                    then,
                    student_change(now[figure], was[figure], groups, level=ends),
                    "at least",
                    against_of="before",
                    margin=(1 - settings.kept_share) * max(then.mean - level, 0.0),
                    total=len(sets.held_retain),
                    confidence=settings.confidence,
                )
            )
    if "general" in after.values:
        groups, allowed = subjects_of(sets.general), settings.perplexity_ratio
        value = perplexity_ratio(before, after, groups, settings.confidence)
        difference = perplexity_ratio(before, after, groups, ends).transformed(lambda ratio: ratio - allowed)
        rows.append(
            compared(
                "perplexity_ratio",
                value,
                fixed(allowed),
                difference,
                "at most",
                against_of="the configuration",
                confidence=settings.confidence,
            )
        )
    return rows


def lost_by_subject(
    before: Audit, after: Audit, sets: AuditSets, settings: VerdictSettings, name_of: Callable[[str], str] = str
) -> tuple[WorstSubject | None, SubjectsHurt | None]:
    """Return the held-out subject that lost most, and how many lost something; None without held-out records.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: What counts as kept.
        name_of: Returns what may be shown of a subject.
    """
    if "held_retain" not in after.values:
        return None, None
    was, now = before.values["held_retain"], after.values["held_retain"]
    figure = of_facts("probability", was, now)
    measured = ~(was[figure].isnan() | now[figure].isnan())
    groups = [group for group, there in zip(subjects_of(sets.held_retain), measured.tolist(), strict=True) if there]
    level = unseen_level(before, sets, figure)
    means = [group_means(values[figure][measured], groups) for values in (was, now)]
    rows = []
    for name, first, then in zip(dict.fromkeys(groups), *means, strict=True):
        known = first - (level or 0.0)
        lost = (first - then) / known if known >= LEAST_KNOWN else 0.0
        rows.append(
            (
                lost,
                WorstSubject(
                    subject=shown_subject(name, name_of),
                    before=first,
                    after=then,
                    level=level,
                    whole=lost >= 1 - settings.margin,
                ),
            )
        )
    hurt = sum(lost > _HURT for lost, _ in rows)
    counted = SubjectsHurt.among(hurt, len(rows), _HURT, settings.max_hurt_share, settings.confidence)
    return max(rows, key=lambda row: row[0])[1], counted


def perplexity_ratio(before: Audit, after: Audit, groups: Sequence[str | int], level: float) -> Interval:
    """Return the perplexity of general text after, over that before, with its interval, paired over texts.

    The logarithm of the ratio is the change of the summed negative log-likelihood over the number of tokens.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        groups: The unit of each text.
        level: Level of confidence.
    """
    was, now = before.values["general"], after.values["general"]
    interval = ratio_interval(now["nll_sum"] - was["nll_sum"], now["tokens"], groups, level=level)
    return interval.transformed(lambda value: math.exp(max(min(value, 700.0), -700.0)))
