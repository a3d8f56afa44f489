"""The verdict of a run: did the model know it, is it forgotten, is the rest kept, how sure are we?

Every figure of the records to forget is compared with what a model shows that never saw them: with a reference model
on the same records where there is one, else with unseen records. *Forgotten* is an equivalence: yes only where it is
shown that at most a stated share of what had been learnt is left. Less than nothing may be left as well, which is told
as *over-forgotten*; *as if never seen* is yes where neither side is exceeded. Means hide people, so the best remembered
and the worst kept subject stand beside them and can turn an answer to no.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import scipy  # its parts are loaded where they are used, half a second each
import torch
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import (
    MIN_UNITS,
    Comparison,
    SubjectsHurt,
    UnlearningVerdict,
    WorstSubject,
    all_of,
    answer,
    compared,
    fixed,
    one_sided,
    unmeasured,
)
from myosotis.evaluation.intervals import (
    Interval,
    ratio_interval,
    student_change,
    student_difference,
    student_interval,
)
from myosotis.evaluation.membership import Trace, membership_inference
from myosotis.evaluation.rank_test import group_means, paired_rank_test, rank_test
from myosotis.unlearning.language.audit.audit import Audit, AuditSets, subjects_of
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

_OF_TOKENS = ("probability", "top5")

_MEASURABLE_SHARE = 0.5
"""Smallest share of the records of a set that a figure must cover to count."""

_LEAST_KNOWN = 0.05
"""A figure that was less than this above its level before unlearning cannot tell what is left."""

_HURT = 0.1
"""A subject is hurt where more than this share of what was known of it is lost."""

Values = Mapping[str, Tensor]
Unit = Literal["subject", "record"]


class LanguageVerdict(UnlearningVerdict):
    """Answers with the comparisons that they rest on; null where an answer cannot be given."""

    control: Comparison | None
    """Positive control: the records to forget against what was never seen, before unlearning."""
    kept_control: Comparison | None
    """The same of the held-out records."""
    worst_remembered: WorstSubject | None
    """The subject to forget that the model knows best."""
    hurt: SubjectsHurt | None
    """Held-out subjects that lost something."""
    kept_share: float
    """Smallest share that counts as kept."""
    unit: Unit = "subject"
    """What bounds on the records to forget go over. Single records, where less than four subjects are compared with a
    reference: the answers are then about these records, not about such people in general."""


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


def judge(
    before: Audit,
    after: Audit,
    sets: AuditSets,
    settings: VerdictSettings,
    *,
    reference: Audit | None = None,
    out_of_range: Sequence[bool] | None = None,
    stressed: Stressed | None = None,
    name_of: Callable[[str], str] = str,
) -> LanguageVerdict:
    """Answer the questions of a verdict, each with the comparisons that it rests on.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: What counts as forgotten and as kept.
        reference: Audit of a model that never saw the forget set; it counts wherever it is given.
        out_of_range: Whether each forget record is longer or shorter than the unseen ones allow, so that figures which
            depend on the length cannot be compared with them.
        stressed: What stress tests gave.
        name_of: Returns what may be shown of a subject, e.g. a salted fingerprint.
    """
    groups, unit = units_to_forget(sets.forget, paired=reference is not None)
    control = known_better(before, sets, "forget", settings, reference)
    known, reasons = (None if control is None else control.holds), dict[str, str]()
    if _without_subjects(sets.forget) or _without_subjects(sets.unseen):
        known, reasons["known"] = None, "no_subjects"
    level = level_of(before, sets, reference)
    forgetting, worst, trace = [], None, None
    if level is not None:
        now, was = after.values["forget"], before.values["forget"]
        forgetting = forgetting_comparisons(was, now, groups, level, settings, out_of_range=out_of_range)
        forgetting += _stress_comparisons(forgetting[0], level, settings, stressed or Stressed())
        worst = most_remembered(was, now, subjects_of(sets.forget), level, settings, name_of)
        trace = trace_of(after, sets, settings.confidence, reference)
    forgotten = answer(forgetting)
    if worst is not None and worst.whole:
        forgotten = False
    if not known:
        reasons["forgotten"] = "not_known"
    elif forgotten is None and all(row.incomparable for row in forgetting):
        reasons["forgotten"] = "nothing_comparable"
    kept_control = known_better(before, sets, "held_retain", settings, reference)
    keeping = keeping_comparisons(before, after, sets, settings)
    worst_kept, hurt = lost_by_subject(before, after, sets, settings, name_of)
    kept = all_of([*(row.holds for row in keeping), *([] if hurt is None else [hurt.holds])])
    if worst_kept is not None and worst_kept.whole:
        kept = False
    if not sets.held_retain:
        reasons["kept"] = "nothing_held_out"
    elif kept_control is not None and not kept_control.holds and kept_control.could_show:
        reasons["kept"] = "not_known"
    elif _without_subjects(sets.held_retain):
        reasons["kept"] = "no_subjects"
    forgotten, kept = (None if key in reasons else said for key, said in (("forgotten", forgotten), ("kept", kept)))
    over, as_unseen = _both_sides(forgetting, trace, forgotten) if known else (None, None)
    return LanguageVerdict(
        known=known,
        forgotten=forgotten,
        kept=kept,
        as_unseen=as_unseen,
        over_forgotten=over,
        sure=True if None not in (forgotten, kept) else None,
        reasons=reasons,
        control=control,
        kept_control=kept_control,
        forgetting=forgetting,
        worst_remembered=worst,
        keeping=keeping,
        worst_kept=worst_kept,
        hurt=hurt,
        trace=trace,
        confidence=settings.confidence,
        margin=settings.margin,
        kept_share=settings.kept_share,
        unit=unit,
    )


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


def level_of(before: Audit, sets: AuditSets, reference: Audit | None = None) -> Level | None:
    """Return what the records to forget are compared with: the reference if there is one, else unseen records."""
    if reference is not None:
        groups, _ = units_to_forget(sets.forget, paired=True)
        return Level("the same records under the reference", reference.values["forget"], groups, paired=True)
    if "unseen" in before.values:
        return Level("unseen records, before", before.values["unseen"], subjects_of(sets.unseen), paired=False)
    return None


def known_better(
    audit: Audit,
    sets: AuditSets,
    split: Literal["forget", "held_retain"],
    settings: VerdictSettings,
    reference: Audit | None = None,
) -> Comparison | None:
    """Return the positive control: whether a model knows records better than a model that never saw them.

    Compared with unseen records by a one-sided rank test. With a reference the test is whether the model exceeds the
    reference by more than it does on unseen records, which holds however easy the records are; without unseen records,
    whether it exceeds it on the same records. Of single records (:func:`units_to_forget`) the test is paired, and the
    model has to exceed the reference by more than the upper bound of what it does on unseen records.

    Args:
        audit: Audit of the model before unlearning.
        sets: Records of the audit.
        split: The set to compare.
        settings: Confidence and margin.
        reference: Audit of a model that never saw the forget set.

    Returns:
        None where there is nothing to compare with.
    """
    examples: Sequence[Example] = getattr(sets, split)
    own, groups = audit.values.get(split), subjects_of(examples)
    unit: Unit = "subject"
    if split == "forget":
        groups, unit = units_to_forget(examples, paired=reference is not None)
    unpaired = _never_seen(audit, sets, None if split == "forget" else reference)
    if own is None or (unpaired is None and reference is None):
        return None
    level = settings.confidence
    if unpaired is not None and (reference is None or split == "held_retain"):
        source, other, other_groups = unpaired
        figure = _of_facts("probability", own, other)
        test = rank_test(own[figure], other[figure], groups, other_groups, alternative="greater")
    else:
        assert reference is not None  # noqa: S101 - else nothing would be compared
        other, other_groups = reference.values[split], groups
        figure, source = _of_facts("probability", own, other), "the reference"
        unseen = audit.values.get("unseen", {}).get(figure)
        gained = None
        if unseen is not None and figure in reference.values.get("unseen", {}):
            gained = unseen - reference.values["unseen"][figure]
        if gained is not None and unit == "subject":
            test = rank_test(
                own[figure] - other[figure], gained, groups, subjects_of(sets.unseen), alternative="greater"
            )
        else:
            easier = 0.0
            if gained is not None:
                bound = student_interval(gained, subjects_of(sets.unseen), level=one_sided(level)).high
                easier = math.inf if bound is None else max(bound, 0.0)
            test = paired_rank_test(own[figure] - easier, other[figure], groups, alternative="greater")
    against = _share(other[figure], other_groups, level)
    paired = source == "the reference"
    return Comparison(
        name=figure,
        value=_share(own[figure], groups, level),
        against=against,
        against_of=source,
        difference=_difference(own[figure], other[figure], groups, other_groups, level, paired=paired),
        rule="above",
        margin=settings.margin * (1 - against.mean),
        total=len(own[figure]),
        p_value=test.p_value,
        smallest_p_value=test.smallest,
        confidence=level,
    )


def _never_seen(
    audit: Audit, sets: AuditSets, reference: Audit | None
) -> tuple[str, Values, Sequence[str | int]] | None:
    """Other records that a model never saw: the unseen ones, or else the forget set under the reference."""
    if "unseen" in audit.values:
        return "unseen records", audit.values["unseen"], subjects_of(sets.unseen)
    if reference is not None:
        return "the forget set under the reference", reference.values["forget"], subjects_of(sets.forget)
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
        name = _of_facts(figure, after, level.values)
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
        if not count or (count < _MEASURABLE_SHARE * size and not sampled):
            reason = " and are of a comparable length" if masked is not None and what == "forget records" else ""
            return unmeasured(name, f"only {count} of {size} {what} have it{reason}", level.of, total)
    against = _share(other, level.groups, settings.confidence)
    learnt = _mean(was - other, groups) if level.paired else _mean(was, groups) - against.mean
    few = f"before unlearning it was only {learnt:.3f} above {level.of}" if learnt < _LEAST_KNOWN else None
    return compared(
        name,
        _share(now, groups, settings.confidence),
        against,
        _difference(now, other, groups, level.groups, settings.confidence, paired=level.paired),
        "at most",
        against_of=level.of,
        margin=settings.margin * max(learnt, 0.0),
        total=total,
        confidence=settings.confidence,
        incomparable=few,
    )


def _stress_comparisons(
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
                _share(now, groups, settings.confidence),
                _share(other, other_groups, settings.confidence),
                _difference(now, other, groups, other_groups, settings.confidence, paired=level.paired),
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
    figure = _of_facts("probability", after, level.values)
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
        whole = known >= _LEAST_KNOWN and then >= first - settings.margin * known and then > bound
        rows.append(
            (
                whole,
                then - other,
                WorstSubject(
                    subject=_shown(name, name_of),
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
        for figure in (_of_facts("probability", was, now), "answer_recall"):
            if figure not in was or figure not in now:
                continue
            then = _share(was[figure], groups, settings.confidence)
            level = _unseen_level(before, sets, figure) or 0.0
            rows.append(
                compared(
                    f"held_retain_{figure}",
                    _share(now[figure], groups, settings.confidence),
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
    figure = _of_facts("probability", was, now)
    measured = ~(was[figure].isnan() | now[figure].isnan())
    groups = [group for group, there in zip(subjects_of(sets.held_retain), measured.tolist(), strict=True) if there]
    level = _unseen_level(before, sets, figure)
    means = [group_means(values[figure][measured], groups) for values in (was, now)]
    rows = []
    for name, first, then in zip(dict.fromkeys(groups), *means, strict=True):
        known = first - (level or 0.0)
        lost = (first - then) / known if known >= _LEAST_KNOWN else 0.0
        rows.append(
            (
                lost,
                WorstSubject(
                    subject=_shown(name, name_of),
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


def _both_sides(
    forgetting: Sequence[Comparison], trace: Trace | None, forgotten: bool | None
) -> tuple[bool | None, bool | None]:
    """Whether less is known than of unseen records, and whether nothing differs in either direction."""
    beyond = [row.beyond for row in forgetting if row.incomparable is None]
    if trace is not None:
        beyond.append(trace.over_forgotten)
    over = True if True in beyond else False if beyond and None not in beyond else None
    if forgotten is False or over or (trace is not None and trace.traceable):
        return over, False
    shown = forgotten and over is False and (trace is None or trace.traceable is False)
    return over, True if shown else None


def _of_facts(figure: str, own: Values, other: Values) -> str:
    """The name of a figure of tokens: of facts where most records of both sets have facts, else of all tokens."""
    if figure not in _OF_TOKENS:
        return figure
    name = f"fact_{figure}"
    both = all(
        name in rows and int((~rows[name].isnan()).sum()) >= _MEASURABLE_SHARE * len(rows[name])
        for rows in (own, other)
    )
    return name if both else f"token_{figure}"


def _share(values: Tensor, groups: Sequence[str | int], confidence: float) -> Interval:
    """Student's interval of a figure in [0, 1]."""
    return student_interval(values, groups, level=confidence).transformed(lambda end: min(max(end, 0.0), 1.0))


def _unseen_level(before: Audit, sets: AuditSets, figure: str) -> float | None:
    """Mean over unseen subjects, where most unseen records have the figure."""
    values = before.values.get("unseen", {}).get(figure)
    if values is None or int((~values.isnan()).sum()) < _MEASURABLE_SHARE * len(values):
        return None
    return _mean(values, subjects_of(sets.unseen))


def _mean(values: Tensor, groups: Sequence[str | int]) -> float:
    """Mean over subjects."""
    return student_interval(values, groups).mean


def _difference(
    values: Tensor,
    others: Tensor,
    groups: Sequence[str | int],
    other_groups: Sequence[str | int],
    confidence: float,
    *,
    paired: bool,
) -> Interval:
    """Values less others, of the same records or of others, with a one-sided bound at either end."""
    level = one_sided(confidence)
    if paired:
        return student_change(values, others, groups, level=level)
    return student_difference(values, others, groups, other_groups, level=level)


def _without_subjects(examples: Sequence[Example]) -> bool:
    return any(example.subject is None for example in examples)


def _shown(subject: str | int, name_of: Callable[[str], str]) -> str:
    return f"record {subject + 1}" if isinstance(subject, int) else name_of(subject)
