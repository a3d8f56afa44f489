"""The verdict of a run: did the model know it, is it forgotten, is the rest kept, does it work, how sure are we?

Every figure of the records to forget is compared with what a model shows that never saw them: with a reference model
on the same records where there is one, else with unseen records. *Forgotten* is an equivalence: yes only where it is
shown that at most a stated share of what had been learnt is left. Less than nothing may be left as well, which is told
as *over-forgotten*; *as if never seen* is yes where neither side is exceeded. Means hide people, so the best remembered
and the worst kept subject stand beside them and can turn an answer to no.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import (
    Comparison,
    SubjectsHurt,
    UnlearningVerdict,
    WorstSubject,
    all_of,
    answer,
    one_sided,
    rest_works,
)
from myosotis.evaluation.intervals import student_interval
from myosotis.evaluation.membership import Trace
from myosotis.evaluation.rank_test import paired_rank_test, rank_test
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.forgotten import (
    ReferenceOf,
    Stressed,
    forgetting_comparisons,
    level_of,
    most_remembered,
    same_records,
    stress_comparisons,
    trace_of,
)
from myosotis.unlearning.language.audit.kept import keeping_comparisons, lost_by_subject
from myosotis.unlearning.language.audit.over_subjects import (
    Unit,
    Values,
    difference_over,
    of_facts,
    share_over,
    units_to_forget,
)
from myosotis.unlearning.language.audit.sets import AuditSets, subjects_of
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.audit.works import still_works, working_comparisons


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
    works: bool | None = None
    """Whether the model's own answers are as sound as before; null also in a result of an earlier version."""
    working: list[Comparison] = Field(default_factory=list)
    """Comparisons of *works*."""
    kept_share: float
    """Smallest share that counts as kept."""
    unit: Unit = "subject"
    """What bounds on the records to forget go over. Single records, where less than four subjects are compared with a
    reference: the answers are then about these records, not about such people in general."""

    @property
    def rest(self) -> bool | None:
        """Whether the model still works for everything else: the rest is kept, and its own answers are sound."""
        return rest_works(self.kept, self.works, measured=bool(self.working))


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
    reference_of: ReferenceOf = "the reference",
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
        reference_of: What the reference is: a model, or the records under invented names.
    """
    groups, unit = units_to_forget(sets.forget, paired=reference is not None)
    control = known_better(before, sets, "forget", settings, reference, reference_of)
    known, reasons = (None if control is None else control.holds), dict[str, str]()
    if _without_subjects(sets.forget) or _without_subjects(sets.unseen):
        known, reasons["known"] = None, "no_subjects"
    level = level_of(before, sets, reference, reference_of)
    forgetting, worst, trace = [], None, None
    if level is not None:
        now, was = after.values["forget"], before.values["forget"]
        forgetting = forgetting_comparisons(was, now, groups, level, settings, out_of_range=out_of_range)
        forgetting += stress_comparisons(forgetting[0], level, settings, stressed or Stressed())
        worst = most_remembered(was, now, subjects_of(sets.forget), level, settings, name_of)
        trace = trace_of(after, sets, settings.confidence, reference)
    forgotten = answer(forgetting)
    if worst is not None and worst.whole:
        forgotten = False
    if not known:
        reasons["forgotten"] = "not_known"
    elif forgotten is None and all(row.incomparable for row in forgetting):
        reasons["forgotten"] = "nothing_comparable"
    kept_control = known_better(before, sets, "held_retain", settings, reference, reference_of)
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
    working = working_comparisons(before, after, sets, settings.confidence)
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
        works=still_works(working),
        working=working,
        trace=trace,
        confidence=settings.confidence,
        margin=settings.margin,
        kept_share=settings.kept_share,
        unit=unit,
    )


def known_better(
    audit: Audit,
    sets: AuditSets,
    split: Literal["forget", "held_retain"],
    settings: VerdictSettings,
    reference: Audit | None = None,
    reference_of: ReferenceOf = "the reference",
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
        reference_of: What the reference is.

    Returns:
        None where there is nothing to compare with.
    """
    examples: Sequence[Example] = getattr(sets, split)
    own, groups = audit.values.get(split), subjects_of(examples)
    unit: Unit = "subject"
    if split == "forget":
        groups, unit = units_to_forget(examples, paired=reference is not None)
    unpaired = _never_seen(audit, sets, None if split == "forget" else reference, reference_of)
    if own is None or (unpaired is None and reference is None):
        return None
    level = settings.confidence
    if unpaired is not None and (reference is None or split == "held_retain"):
        source, other, other_groups = unpaired
        figure = of_facts("probability", own, other)
        test = rank_test(own[figure], other[figure], groups, other_groups, alternative="greater")
    else:
        assert reference is not None  # noqa: S101 - else nothing would be compared
        other, other_groups = reference.values[split], groups
        figure, source = of_facts("probability", own, other), same_records(reference_of)
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
    against = share_over(other[figure], other_groups, level)
    paired = source == same_records(reference_of)
    return Comparison(
        name=figure,
        value=share_over(own[figure], groups, level),
        against=against,
        against_of=source,
        difference=difference_over(own[figure], other[figure], groups, other_groups, level, paired=paired),
        rule="above",
        margin=settings.margin * (1 - against.mean),
        total=len(own[figure]),
        p_value=test.p_value,
        smallest_p_value=test.smallest,
        confidence=level,
    )


def _never_seen(
    audit: Audit, sets: AuditSets, reference: Audit | None, reference_of: ReferenceOf
) -> tuple[str, Values, Sequence[str | int]] | None:
    """Other records that a model never saw: the unseen ones, or else the forget set under the reference."""
    if "unseen" in audit.values:
        return "unseen records", audit.values["unseen"], subjects_of(sets.unseen)
    if reference is not None:
        return f"the forget set under {reference_of}", reference.values["forget"], subjects_of(sets.forget)
    return None


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


def _without_subjects(examples: Sequence[Example]) -> bool:
    return any(example.subject is None for example in examples)
