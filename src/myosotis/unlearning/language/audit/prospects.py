"""What a verdict can decide with the subjects at hand: said before the work by ``check``, after it by a report.

No count promises an answer: figures that differ much between subjects leave it open. Below these no figures give one.
"""

import bisect
import math
from collections.abc import Callable

from myosotis.evaluation.comparison import MIN_UNITS, SubjectsHurt
from myosotis.unlearning.language.audit.over_subjects import Unit, units_to_forget
from myosotis.unlearning.language.audit.sets import AuditSets, subjects_of
from myosotis.unlearning.language.audit.settings import VerdictSettings

REFERENCE = "a reference ('reference: names', or a model that never saw the records)"


def unseen_needed(forget: int, confidence: float) -> int:
    """Return the least number of unseen subjects with which a rank test can show anything.

    Args:
        forget: Subjects to forget.
        confidence: Level of confidence.

    Example:
        >>> unseen_needed(1, 0.95), unseen_needed(2, 0.95), unseen_needed(4, 0.95)
        (19, 5, 3)
    """
    return _least(lambda unseen: 1 / math.comb(forget + unseen, forget) <= 1 - confidence + 1e-9)


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
    return _least(lambda held: held > hurt and SubjectsHurt.among(hurt, held, 0.1, allowed, confidence).holds is True)


def _least(enough: Callable[[int], bool]) -> int:
    """The least number that is enough, if every larger one is."""
    high = 1
    while not enough(high):
        high *= 2
    return bisect.bisect_left(range(high + 1), True, lo=1, key=enough)


def prospect_lines(sets: AuditSets, settings: VerdictSettings, *, reference: str | None) -> list[str]:
    """Return how many subjects there are, and which questions no outcome could answer with yes, and what is missing.

    Args:
        sets: Records of the audit.
        settings: What counts as forgotten and as kept.
        reference: Setting of the reference; None where there is none.
    """
    forget, unseen, held = (len(set(subjects_of(rows))) for rows in (sets.forget, sets.unseen, sets.held_retain))
    units, unit = units_to_forget(sets.forget, paired=reference is not None)
    count = len(set(units))
    lines = [f"subjects: {forget} to forget, {unseen} unseen, {held} held out" + (", a reference" if reference else "")]
    if unit == "record":
        lines.append(f"  answers will be about these {count} records, not about such subjects in general")
    needs = {
        "Did the model know it?": _unnamed(sets) or _known(count, unit, unseen, settings, reference),
        "Is it forgotten?": _forgotten(count, unit, unseen, reference=reference is not None),
        "Is the rest kept?": _kept(held, settings),
    }
    ruled_out = [f"  '{question}' cannot become a yes: {need}" for question, need in needs.items() if need]
    return lines + (ruled_out or ["  every question can be decided with these, if figures differ little between them"])


def _unnamed(sets: AuditSets) -> str | None:
    if any(example.subject is None for example in (*sets.forget, *sets.unseen)):
        return "give each record its 'subject', or say 'rows_per_subject: 1'"
    return None


def _known(count: int, unit: Unit, unseen: int, settings: VerdictSettings, reference: str | None) -> str | None:
    """What the test of :func:`~.verdict.known_better` lacks, which is paired where records, or no others, are there."""
    if reference == "names":
        unseen = 0  # invented names are the level for the records to forget alone
    if reference and (unit == "record" or not unseen):
        needed = _least(lambda pairs: 0.5**pairs <= 1 - settings.confidence + 1e-9)
        if count < needed:
            return f"{_of_facts(needed, unit)} are needed, {count} are there"
        return "give two unseen subjects or more, or none" if unseen == 1 else None
    needed = unseen_needed(count, settings.confidence)
    if unseen >= needed:
        return None
    return f"{needed} unseen subjects are needed" + ("" if reference else f", or {REFERENCE}")


def _of_facts(count: int, unit: Unit) -> str:
    return f"{count} records with different facts" if unit == "record" else f"{count} subjects to forget"


def _forgotten(count: int, unit: Unit, unseen: int, *, reference: bool) -> str | None:
    if reference:
        return None if count >= MIN_UNITS else f"{_of_facts(MIN_UNITS, unit)} are needed, {count} are there"
    if count < MIN_UNITS:
        return (
            f"less than {MIN_UNITS} subjects to forget decide nothing about such subjects; {REFERENCE} does about "
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
