"""Is it forgotten? The records to forget, now, against what a model shows that never saw them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import scipy  # its parts are loaded where they are used, half a second each
import torch
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import Comparison, WorstSubject, compared, unmeasured
from myosotis.evaluation.membership import Trace, membership_inference
from myosotis.evaluation.rank_test import group_means
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.over_subjects import (
    LEAST_KNOWN,
    MEASURABLE_SHARE,
    Values,
    difference_over,
    mean_over,
    of_facts,
    share_over,
    shown_subject,
    units_to_forget,
)
from myosotis.unlearning.language.audit.sets import AuditSets, subjects_of
from myosotis.unlearning.language.audit.settings import VerdictSettings

FORGETTING = (
    "probability",
    "top5_recall",
    "extraction_strength",
    "memorization_accuracy",
    "extraction_likelihood",
    "greedy_recall",
    "sampled_recall",
)
"""The figures that say whether records are forgotten; the first of facts where records have facts."""

LENGTHWISE = frozenset({"memorization_accuracy", "extraction_likelihood", "extraction_strength"})
"""Figures that depend on the length of a record, or that short ones do not have."""


@dataclass(frozen=True)
class Level:
    """What a model shows that never saw the records to forget.

    Attributes:
        of: Its origin, in words.
        values: Figures of single records.
        groups: Subject of each.
        paired: Whether these are the records to forget themselves, under a reference model.
    """

    of: str
    values: Values
    groups: Sequence[str | int]
    paired: bool


@dataclass(frozen=True)
class Stressed:
    """Probabilities of records under stress tests: by the name of the test, the values of each set.

    Attributes:
        groups: By test and set, the unit of each value.
        before: Values under the model before unlearning.
        after: Values under the model after it.
        reference: Values under a reference model, or nothing.
    """

    groups: Mapping[str, Mapping[str, Sequence[str | int]]] = field(default_factory=dict)
    before: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    after: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    reference: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


ReferenceOf = Literal["the reference", "invented names"]
"""What a reference is: a model that never saw the records, or the records under invented names."""


def same_records(reference_of: ReferenceOf) -> str:
    """Return the records to forget under a reference, in words."""
    return f"the same records under {reference_of}"


def level_of(
    before: Audit, sets: AuditSets, reference: Audit | None = None, reference_of: ReferenceOf = "the reference"
) -> Level | None:
    """Return what the records to forget are compared with: the reference if there is one, else unseen records."""
    if reference is not None:
        groups, _ = units_to_forget(sets.forget, paired=True)
        return Level(same_records(reference_of), reference.values["forget"], groups, paired=True)
    if "unseen" in before.values:
        return Level("unseen records, before", before.values["unseen"], subjects_of(sets.unseen), paired=False)
    return None


def forgetting_comparisons(
    before: Values,
    after: Values,
    groups: Sequence[str | int],
    level: Level,
    settings: VerdictSettings,
    figures: Sequence[str] = FORGETTING,
    out_of_range: Sequence[bool] | None = None,
) -> list[Comparison]:
    """Return the comparisons that say whether records are forgotten; those that cannot be made with the reason.

    The margin of a figure is a share of what it was above its level before. A figure that had hardly been above it says
    nothing.

    Args:
        before: Figures of the records to forget under the model before unlearning.
        after: Figures under the model now.
        groups: Subject of each record.
        level: What a model shows that never saw them.
        settings: Confidence and margin.
        figures: The figures.
        out_of_range: See :func:`judge`.
    """
    rows = []
    for figure in figures:
        name = of_facts(figure, after, level.values)
        masked = out_of_range if name in LENGTHWISE and not level.paired else None
        rows.append(_forgetting(name, before, after, groups, level, settings, masked))
    return rows


def _forgetting(
    name: str,
    before: Values,
    after: Values,
    groups: Sequence[str | int],
    level: Level,
    settings: VerdictSettings,
    masked: Sequence[bool] | None,
) -> Comparison:
    total = len(groups)
    other_set = "forget" if level.paired else "unseen"
    missing = [split for split, rows in (("forget", after), (other_set, level.values)) if name not in rows]
    if missing or name not in before:
        lack = "is long enough" if name in LENGTHWISE else "was sampled" if name == "sampled_recall" else "has it"
        splits = " and no ".join(dict.fromkeys(missing)) or "forget"
        return unmeasured(name, f"no {splits} record {lack}", level.of, total)
    was, now, other = before[name], after[name], level.values[name]
    if masked is not None:
        out = torch.tensor(masked)
        was, now = (torch.where(out, torch.nan, rows.double()) for rows in (was, now))
    sampled = name == "sampled_recall"
    for rows, size, what in ((now, total, "forget records"), (other, len(level.groups), level.of)):
        count = int((~rows.isnan()).sum())
        if not count or (count < MEASURABLE_SHARE * size and not sampled):
            reason = " and are of a comparable length" if masked is not None and what == "forget records" else ""
            return unmeasured(name, f"only {count} of {size} {what} have it{reason}", level.of, total)
    against = share_over(other, level.groups, settings.confidence)
    learnt = mean_over(was - other, groups) if level.paired else mean_over(was, groups) - against.mean
    few = f"before unlearning it was only {learnt:.3f} above {level.of}" if learnt < LEAST_KNOWN else None
    return compared(
        name,
        share_over(now, groups, settings.confidence),
        against,
        difference_over(now, other, groups, level.groups, settings.confidence, paired=level.paired),
        "at most",
        against_of=level.of,
        margin=settings.margin * max(learnt, 0.0),
        total=total,
        confidence=settings.confidence,
        incomparable=few,
    )


def stress_comparisons(
    plain: Comparison,
    level: Level,
    settings: VerdictSettings,
    stressed: Stressed,
) -> list[Comparison]:
    """The same probability under every stress test that ran, each with the margin that it has without stress."""
    split, others = ("forget", stressed.reference) if level.paired else ("unseen", stressed.before)
    rows = []
    for test, values in stressed.after.items():
        if split not in others.get(test, {}) or plain.incomparable is not None:
            continue
        now, other = values["forget"], others[test][split]
        groups, other_groups = stressed.groups[test]["forget"], stressed.groups[test][split]
        rows.append(
            compared(
                f"{plain.name}, {test}",
                share_over(now, groups, settings.confidence),
                share_over(other, other_groups, settings.confidence),
                difference_over(now, other, groups, other_groups, settings.confidence, paired=level.paired),
                "at most",
                against_of=f"{level.of}, likewise",
                margin=plain.margin,
                confidence=settings.confidence,
            )
        )
    return rows


def most_remembered(
    before: Values,
    after: Values,
    groups: Sequence[str | int],
    level: Level,
    settings: VerdictSettings,
    name_of: Callable[[str], str] = str,
) -> WorstSubject | None:
    """Return the subject to forget that the model knows best, in excess of what it would know unseen.

    It is wholly remembered where at most the margin of what was known of it is gone and it cannot be a good guess:
    where it exceeds what the best of as many unseen subjects would reach (a prediction bound on the scale of log-odds),
    or what the reference makes of it by more than half of what had been learnt on average.

    Args:
        before: Figures of the records before.
        after: Figures now.
        groups: Subject of each record.
        level: What a model shows that never saw them.
        settings: Confidence and margin.
        name_of: Returns what may be shown of a subject.
    """
    figure = of_facts("probability", after, level.values)
    if not all(figure in rows for rows in (before, after, level.values)):
        return None
    measured = ~(before[figure].isnan() | after[figure].isnan())
    if level.paired:
        measured &= ~level.values[figure].isnan()
    subjects = [group for group, there in zip(groups, measured.tolist(), strict=True) if there]
    if not subjects:
        return None
    was, now = (group_means(rows[figure][measured], subjects) for rows in (before, after))
    if level.paired:
        levels = group_means(level.values[figure][measured], subjects)
        learnt = sum(first - other for first, other in zip(was, levels, strict=True)) / len(was)
        bounds = [other + learnt / 2 for other in levels]
        others = None
    else:
        others = group_means(level.values[figure], level.groups)
        levels = [sum(others) / len(others)] * len(was)
        bounds = [_best_guess(others, len(was), settings.confidence)] * len(was)
    names = list(dict.fromkeys(subjects))
    rows = []
    for name, first, then, other, bound in zip(names, was, now, levels, bounds, strict=True):
        known = first - other
        whole = known >= LEAST_KNOWN and then >= first - settings.margin * known and then > bound
        rows.append(
            (
                whole,
                then - other,
                WorstSubject(
                    subject=shown_subject(name, name_of),
                    before=first,
                    after=then,
                    level=other,
                    whole=whole,
                    unseen=None if others is None else len(others),
                    unseen_as_high=None if others is None else sum(value >= then for value in others),
                ),
            )
        )
    return max(rows, key=lambda row: row[:2])[2]


def _best_guess(others: Sequence[float], count: int, confidence: float) -> float:
    """What the best of ``count`` further subjects stays below, by Student's prediction bound of their log-odds."""
    if len(others) < 2:
        return math.inf
    odds = torch.tensor(others, dtype=torch.float64).clamp(1e-3, 1 - 1e-3).logit()
    quantile = float(scipy.special.stdtrit(len(others) - 1, 1 - (1 - confidence) / count))
    bound = odds.mean() + quantile * odds.std() * math.sqrt(1 + 1 / len(others))
    return float(bound.sigmoid())


def trace_of(after: Audit, sets: AuditSets, confidence: float, reference: Audit | None = None) -> Trace | None:
    """Return whether the loss tells the forget records from unseen ones; None without unseen records.

    With a reference, whether the loss less that under the reference does: then it is no trace that the records to
    forget are easier, or harder, than the unseen ones.

    Args:
        after: Audit of the model after unlearning.
        sets: Records of the audit.
        confidence: Level of the test, which is exact where subjects are few.
        reference: Audit of a model that never saw the forget set.
    """
    if "unseen" not in after.values:
        return None
    own, other = (after.values[split]["nll"] for split in ("forget", "unseen"))
    against = "unseen records"
    if reference is not None and "unseen" in reference.values:
        own, other = (rows - reference.values[split]["nll"] for rows, split in ((own, "forget"), (other, "unseen")))
        against = "unseen records, relative to the reference"
    inference = membership_inference(
        own, other, member_groups=subjects_of(sets.forget), other_groups=subjects_of(sets.unseen), level=confidence
    )
    return Trace.of(inference, against)


def out_of_range(examples: Sequence[Example], thresholds: Any) -> list[bool]:
    """Return which records are longer or shorter than those that set the thresholds allow.

    Args:
        examples: Examples of the forget set.
        thresholds: :class:`~myosotis.unlearning.language.audit.memorization.Thresholds` of the unseen set.
    """
    low, high = thresholds.range
    lengths = [len(example.input_ids) - max(example.response_start, 1) + 1 for example in examples]
    return [not low <= length <= high for length in lengths]
