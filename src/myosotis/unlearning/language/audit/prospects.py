"""What a verdict can decide with the subjects at hand: told before the work by ``check``, after it by a report.

No count promises an answer: figures that differ much between subjects leave it open. Below these no figures give one.
"""

import math
from itertools import count

from myosotis.evaluation.comparison import MIN_UNITS, SubjectsHurt
from myosotis.unlearning.language.audit.audit import AuditSets, subjects_of
from myosotis.unlearning.language.audit.settings import VerdictSettings
from myosotis.unlearning.language.audit.verdict import units_to_forget

REFERENCE = "a model that never saw the records ('reference')"


def unseen_needed(forget: int, confidence: float) -> int:
    """Return the least number of unseen subjects with which a rank test can show anything.

    Args:
        forget: Subjects to forget.
        confidence: Level of confidence.

    Example:
        >>> unseen_needed(1, 0.95), unseen_needed(2, 0.95), unseen_needed(4, 0.95)
        (19, 5, 2)
    """
    return next(unseen for unseen in count(1) if 1 / math.comb(forget + unseen, forget) <= 1 - confidence + 1e-9)


def held_needed(hurt: int, settings: VerdictSettings) -> int:
    """Return the least number of held-out subjects with which so many may be hurt.

    Args:
        hurt: Subjects that lose something.
        settings: Confidence, and the share that may be hurt.

    Example:
        >>> [held_needed(hurt, VerdictSettings()) for hurt in range(3)]
        [19, 30, 40]
    """
    allowed, confidence = settings.max_hurt_share, settings.confidence
    numbers = range(hurt + 1, 100_000)
    return next(held for held in numbers if SubjectsHurt.among(hurt, held, 0.1, allowed, confidence).holds)


def prospect_lines(sets: AuditSets, settings: VerdictSettings, *, reference: bool) -> list[str]:
    """Return which questions no outcome could answer with yes, and what would; one line if none is ruled out.

    Args:
        sets: Records of the audit.
        settings: What counts as forgotten and as kept.
        reference: Whether there is a reference.
    """
    forget, unseen, held = (len(set(subjects_of(rows))) for rows in (sets.forget, sets.unseen, sets.held_retain))
    units, unit = units_to_forget(sets.forget, paired=reference)
    found = {
        "Did the model know it?": _known(sets, forget, unseen, len(set(units)), settings, reference=reference),
        "Is it forgotten?": _forgotten(forget, unseen, len(set(units)), reference=reference),
        "Is the rest kept?": _kept(held, settings),
    }
    open_questions = {question: why for question, why in found.items() if why}
    counts = f"{forget} to forget, {unseen} unseen, {held} held out" + (", a reference" if reference else "")
    lines = [f"subjects: {counts}"]
    if unit == "record":
        lines.append(f"  answers will be about these {len(set(units))} records, not about such subjects in general")
    if not open_questions:
        return [*lines, "  every question can be decided with these, if figures differ little between them"]
    return [*lines, *(f"  '{question}' cannot become a yes: {why}" for question, why in open_questions.items())]


def _known(
    sets: AuditSets, forget: int, unseen: int, units: int, settings: VerdictSettings, *, reference: bool
) -> str | None:
    if any(example.subject is None for example in (*sets.forget, *sets.unseen)):
        return "give each record its 'subject', or say 'rows_per_subject: 1'"
    if not unseen and not reference:
        return f"give {unseen_needed(forget, settings.confidence)} unseen subjects or more, or {REFERENCE}"
    if reference and (units > forget or not unseen):
        if 0.5**units > 1 - settings.confidence + 1e-9:
            return f"{units} records with different facts show nothing; with a reference five do"
        return None
    needed = unseen_needed(forget, settings.confidence)
    return None if unseen >= needed else f"{needed} unseen subjects are needed, or {REFERENCE}"


def _forgotten(forget: int, unseen: int, units: int, *, reference: bool) -> str | None:
    if reference:
        return None if units >= MIN_UNITS else f"less than {MIN_UNITS} records with different facts decide nothing"
    if forget < MIN_UNITS:
        return (
            f"less than {MIN_UNITS} subjects to forget decide nothing about such subjects; {REFERENCE}, does about "
            "these records"
        )
    return None if unseen >= MIN_UNITS else f"{MIN_UNITS} unseen subjects are needed at least, better 20"


def _kept(held: int, settings: VerdictSettings) -> str | None:
    needed = held_needed(0, settings)
    if held >= needed:
        return None
    return (
        f"{needed} held-out subjects are needed, as nobody hurt among {held} does not bound how many are; give more "
        "records to retain, or hold more of them out ('audit.held_retain')"
    )
