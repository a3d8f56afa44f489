"""Does it still work? The model's own answers, after unlearning against before: do they stutter, run on, fall silent?

Nobody sees a broken model by the truths that it no longer tells. Its answers show it, to what was to be forgotten and
to what is to be kept: token pairs that come again, an answer that does not end or says nothing, tokens that the model
before would hardly have said there. A refusal is none of these; nor is a wrong answer, which surprises in one place.
"""

from collections.abc import Mapping, Sequence

from myosotis.data.encoding import Example
from myosotis.evaluation.comparison import MIN_UNITS, Comparison, answer, compared, one_sided, unmeasured
from myosotis.evaluation.intervals import student_change
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.over_subjects import share_over, units_to_forget
from myosotis.unlearning.language.audit.sets import AuditSets

WORKING: Mapping[str, float] = {
    "answer_repetition": 0.1,
    "answer_runs_on": 0.1,
    "answer_silence": 0.1,
    "answer_surprise": 0.25,
}
"""The shares that say whether a model still works, and by how much each may grow.

A refusal in place of an answer is within them, models broken on purpose are not: ``benchmarks/broken.py``.
"""


def working_comparisons(before: Audit, after: Audit, sets: AuditSets, confidence: float) -> list[Comparison]:
    """Return the comparisons that say whether the model still works, each of the same questions before.

    They are about the questions, so few subjects are no obstacle: of less than four the records count. Figures that the
    audit before does not have, as one of an earlier version, are left out.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Records of both audits.
        confidence: Level of confidence.
    """
    rows = []
    for split in ("forget", "held_retain" if sets.held_retain else "retain"):
        examples: Sequence[Example] = getattr(sets, split)
        groups, unit = units_to_forget(examples, paired=True)
        units = len(set(groups))
        few = f"less than {MIN_UNITS} {unit}s" if units < MIN_UNITS else None
        for figure, margin in WORKING.items():
            was, now = (audit.values.get(split, {}).get(figure) for audit in (before, after))
            if was is None:
                continue
            if now is None:
                reason = "it takes the model before, which was not loaded again"
                rows.append(unmeasured(f"{split}_{figure}", reason, "the same questions, before", len(examples)))
                continue
            rows.append(
                compared(
                    f"{split}_{figure}",
                    share_over(now, groups, confidence),
                    share_over(was, groups, confidence),
                    student_change(now, was, groups, level=one_sided(confidence)),
                    "at most",
                    against_of="the same questions, before",
                    margin=margin,
                    total=len(examples),
                    confidence=confidence,
                    incomparable=few,
                )
            )
    return rows


def still_works(working: Sequence[Comparison]) -> bool | None:
    """Return the answer to the question; never yes where a figure was not measured.

    Args:
        working: Return value of :func:`working_comparisons`.
    """
    found = answer(working)
    return None if found and any(row.value is None for row in working) else found
