"""The verdict of a run: did the model know it, is it forgotten, is the rest kept, how sure are we?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.evaluation.intervals import Interval, change_interval, difference_interval, mean_interval, ratio_interval
from myosotis.evaluation.membership import membership_inference
from myosotis.evaluation.rank_test import paired_rank_test, rank_test
from myosotis.evaluation.verdict import Control, Criterion, all_hold, fixed
from myosotis.unlearning.language.audit.audit import Audit, AuditSets, subjects_of

_MEASURABLE_SHARE = 0.5
"""Smallest share of the forget records that a criterion must cover to count."""


@dataclass(frozen=True)
class VerdictSettings:
    """What counts as forgotten and as kept.

    Attributes:
        confidence: Level of every interval and test.
        margin: Smallest difference of accuracy that counts; see :class:`~myosotis.evaluation.verdict.Criterion`.
        kept_share: Smallest share of the accuracy before on held-out records that counts as kept.
        perplexity_ratio: Largest ratio of the perplexity of general text to that before.
    """

    confidence: float = 0.95
    margin: float = 0.1
    kept_share: float = 0.95
    perplexity_ratio: float = 1.15


def judge(
    before: Audit,
    after: Audit,
    sets: AuditSets,
    settings: VerdictSettings,
    *,
    reference: Audit | None = None,
    incomparable: str | None = None,
    retain_given: bool = True,
) -> dict[str, Any]:
    """Answer the questions of a verdict, each with the comparisons that it rests on.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: What counts as forgotten and as kept.
        reference: Audit of a model that never saw the forget set.
        incomparable: Why memorisation accuracy and extraction likelihood of the forget set cannot be compared with
            those of the unseen set, e.g. because lengths differ.
        retain_given: Whether there are retain records.

    Returns:
        ``known`` with ``control``; ``forgotten`` with ``forgetting_criteria`` and ``over_forgotten`` with
        ``over_forgetting``; ``kept`` with ``keeping_criteria`` and ``kept_control``; ``sure``. The answers are True,
        False, or None where undecided; ``reasons`` says why.
    """
    control = known_better(before, sets, "forget", settings, reference)
    known = None if control is None else control.known
    forgetting = forgetting_criteria(before, after, sets, settings, incomparable)
    keeping = keeping_criteria(before, after, sets, settings)
    kept_control = known_better(before, sets, "held_retain", settings)
    over = over_forgetting(after, sets, settings.confidence)
    reasons: dict[str, str] = {}
    forgotten = all_hold(forgetting)
    if not known:
        reasons["forgotten"] = "not_known"
    elif forgotten is None:
        reasons["forgotten"] = "nothing_comparable"
    kept = all_hold(keeping)
    if retain_given and not sets.held_retain:
        reasons["kept"] = "nothing_held_out"
    elif kept_control is not None and not kept_control.known and kept_control.test.could_show(settings.confidence):
        reasons["kept"] = "not_known"
    elif kept is None:
        reasons["kept"] = "nothing_to_compare"
    forgotten, kept = (None if key in reasons else answer for key, answer in (("forgotten", forgotten), ("kept", kept)))
    judged = [row for row in (*forgetting, *keeping) if row.holds is not None]
    decided = bool(judged) and known is not None and all(row.decided for row in judged)
    return {
        "known": known,
        "forgotten": forgotten,
        "kept": kept,
        "sure": True if decided and None not in (forgotten, kept) else None,
        "over_forgotten": None if over is None else over["over_forgotten"],
        "reasons": reasons,
        "control": None if control is None else control.as_json(),
        "kept_control": None if kept_control is None else kept_control.as_json(),
        "forgetting_criteria": [row.as_json() for row in forgetting],
        "keeping_criteria": [row.as_json() for row in keeping],
        "over_forgetting": over,
        "confidence": settings.confidence,
        "margin": settings.margin,
    }


def known_better(
    audit: Audit,
    sets: AuditSets,
    split: Literal["forget", "held_retain"],
    settings: VerdictSettings,
    reference: Audit | None = None,
) -> Control | None:
    """Return the positive control: whether a model knows records better than unseen ones, or than the reference does.

    Args:
        audit: Audit of the model before unlearning.
        sets: Records of the audit.
        split: The set to compare.
        settings: Confidence and margin.
        reference: Audit of a model that never saw the forget set; used where there are no unseen records.

    Returns:
        None where there is nothing to compare with.
    """
    if split not in audit.values:
        return None
    own, groups = audit.values[split], subjects_of(getattr(sets, split))
    if "unseen" in audit.values:
        measure = _accuracy_of_both(own, audit.values["unseen"])
        level, other_groups = audit.values["unseen"][measure], subjects_of(sets.unseen)
        return Control(
            measure,
            mean_interval(own[measure], groups, level=settings.confidence),
            mean_interval(level, other_groups, level=settings.confidence),
            "unseen records",
            difference_interval(own[measure], level, groups, other_groups, level=settings.confidence),
            rank_test(own[measure], level, groups, other_groups, alternative="greater"),
            settings.confidence,
            settings.margin,
        )
    if reference is None or split != "forget":
        return None
    measure = _accuracy_of_both(own, reference.values[split])
    level = reference.values[split][measure]
    return Control(
        measure,
        mean_interval(own[measure], groups, level=settings.confidence),
        mean_interval(level, groups, level=settings.confidence),
        "the reference",
        change_interval(own[measure], level, groups, level=settings.confidence),
        paired_rank_test(own[measure], level, groups, alternative="greater"),
        settings.confidence,
        settings.margin,
    )


def forgetting_criteria(
    before: Audit, after: Audit, sets: AuditSets, settings: VerdictSettings, incomparable: str | None = None
) -> list[Criterion]:
    """Return the comparisons that say whether the forget set is forgotten; none without unseen records.

    Those that cannot be made are listed too, with the reason.

    Args:
        before: Audit of the model before unlearning; its figures on unseen records are the thresholds.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: Confidence and margin.
        incomparable: See :func:`judge`.
    """
    if "unseen" not in before.values:
        return []
    level, now = before.values["unseen"], after.values["forget"]
    groups, other_groups = subjects_of(sets.forget), subjects_of(sets.unseen)
    measures = [_accuracy_of_both(now, level), "memorization_accuracy", "extraction_likelihood"]
    if "fact_accuracy" not in measures and ("fact_accuracy" in now or "fact_accuracy" in level):
        measures.insert(0, "fact_accuracy")
    total = len(sets.forget)
    criteria = []
    for measure in measures:
        lengthwise = measure in ("memorization_accuracy", "extraction_likelihood")
        reason = incomparable if lengthwise else None
        missing = [name for name, rows in (("forget", now), ("unseen", level)) if measure not in rows]
        if missing:
            lack = "is long enough" if lengthwise else "has facts marked"
            criteria.append(_unmeasured(measure, f"no {' and no '.join(missing)} record {lack}", total))
            continue
        count = int((~now[measure].isnan()).sum())
        if reason is None and count < _MEASURABLE_SHARE * total:
            reason = f"only {count} of {total} forget records have it"
        criteria.append(
            Criterion(
                measure,
                mean_interval(now[measure], groups, level=settings.confidence),
                mean_interval(level[measure], other_groups, level=settings.confidence),
                "unseen records, before",
                "<=",
                difference_interval(now[measure], level[measure], groups, other_groups, level=settings.confidence),
                settings.margin,
                total,
                reason,
            )
        )
    return criteria


def keeping_criteria(before: Audit, after: Audit, sets: AuditSets, settings: VerdictSettings) -> list[Criterion]:
    """Return the comparisons that say whether the rest is kept; none without held-out records and general text.

    Args:
        before: Audit of the model before unlearning: its figures, less the permitted loss, are the thresholds.
        after: Audit of the model after it.
        sets: Records of both audits.
        settings: What counts as kept.
    """
    criteria = []
    level = settings.confidence
    if "held_retain" in after.values:
        was, now = before.values["held_retain"], after.values["held_retain"]
        measure = _accuracy_of_both(was, now)
        groups, share = subjects_of(sets.held_retain), settings.kept_share
        threshold = mean_interval(was[measure], groups, level=level)
        criteria.append(
            Criterion(
                f"held_retain_{measure}",
                mean_interval(now[measure], groups, level=level),
                threshold.transformed(lambda mean: share * mean),
                f"{share:.0%} of before",
                ">=",
                change_interval(now[measure], was[measure], groups, share=share, level=level),
                total=len(sets.held_retain),
            )
        )
    if "general" in after.values:
        ratio = perplexity_ratio(before, after, subjects_of(sets.general), level)
        allowed = settings.perplexity_ratio
        difference = ratio.transformed(lambda value: value - allowed)
        criteria.append(Criterion("perplexity_ratio", ratio, fixed(allowed), "the configuration", "<=", difference))
    return criteria


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


def over_forgetting(after: Audit, sets: AuditSets, confidence: float) -> dict[str, Any] | None:
    """Return whether the forget records are now less likely than unseen ones; None without unseen records.

    Args:
        after: Audit of the model after unlearning.
        sets: Records of the audit.
        confidence: Level of the test, which is exact where subjects are few.
    """
    if "unseen" not in after.values:
        return None
    inference = membership_inference(
        after.values["forget"]["nll"],
        after.values["unseen"]["nll"],
        member_groups=subjects_of(sets.forget),
        other_groups=subjects_of(sets.unseen),
        level=confidence,
    )
    return {
        "over_forgotten": inference.over_unlearned if inference.decidable else None,
        "traceable": inference.traceable if inference.decidable else None,
        "auc": inference.auc,
        "low": inference.low,
        "high": inference.high,
        "p_value": inference.p_value,
        "decidable": inference.decidable,
        "units": inference.member_units,
        "unseen_units": inference.other_units,
    }


def lengths_differ(examples: Sequence[Example], thresholds: Any) -> str | None:
    """Return why memorisation figures of records cannot be compared with thresholds; None where they can.

    Args:
        examples: Examples of the forget set, long enough for the n of the thresholds.
        thresholds: :class:`~myosotis.unlearning.language.audit.memorization.Thresholds` of the unseen set.
    """
    sequences = [torch.tensor(example.input_ids) for example in examples]
    starts = [max(example.response_start, 1) for example in examples]
    try:
        thresholds.check_comparable(sequences, thresholds.n, starts)
    except ValueError as error:
        return str(error)
    return None


def _accuracy_of_both(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """The accuracy by which two sets are compared: on facts where both have them, else on all tokens of the answer."""
    return "fact_accuracy" if "fact_accuracy" in own and "fact_accuracy" in other else "token_accuracy"


def _unmeasured(measure: str, reason: str, total: int) -> Criterion:
    nothing = Interval(math.nan, None, None, 0, 0)
    return Criterion(measure, nothing, nothing, "unseen records, before", "<=", total=total, incomparable=reason)
