"""What the figures of a run amount to: known before, forgotten, the rest kept, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest
from torch import Tensor

from myosotis.evaluation.intervals import change_interval, difference_interval, mean_interval
from myosotis.evaluation.rank_test import RankTest, paired_rank_test, rank_test
from myosotis.evaluation.verdict import FEWEST_UNITS, Criterion, all_hold
from myosotis.unlearning.classifier.audit import Audit, share

_CHANCE_AUC = 0.5


@dataclass(frozen=True)
class VerdictSettings:
    """What counts as forgotten and as kept.

    Attributes:
        most_lost: A loss of accuracy up to this still counts as kept.
        margin: A difference of accuracy, or of an AUC, below it is none.
        confidence: Level of every interval and test.
    """

    most_lost: float = 0.05
    margin: float = 0.1
    confidence: float = 0.95


def judge(
    audits: Mapping[str, Audit],
    outcome: Mapping[str, Any],
    labels: Mapping[str, Tensor],
    classes: int,
    settings: VerdictSettings,
    *,
    by_goal: bool,
    kept_sets: Sequence[str],
    shadow: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Answer the questions of a verdict, each with the comparisons that it rests on.

    Args:
        audits: Of the models ``before``, ``after``, and where there is one of the ``reference``.
        outcome: Of the unlearning: ``converged`` and ``instances``.
        labels: The true classes by set.
        classes: How many classes there are.
        settings: What counts.
        by_goal: Whether the method aims at errors, so that instances are forgotten once they get another answer; else
            they are when their accuracy is no higher than that of the reference.
        kept_sets: The sets that what is kept is judged by: those that the unlearning did not train on.
        shadow: What shadow models found.

    Returns:
        ``known`` with ``control``; ``forgotten`` with ``goal_reached`` or ``forgetting_criteria``; ``kept`` with
        ``kept_criteria``; ``as_unseen`` with ``over_forgotten``; ``sure``; ``reasons`` of what could not be answered.
        The answers are True, False, or None where it cannot be said.
    """
    before, after, reference = audits["before"], audits["after"], audits.get("reference")
    control = positive_control(before, reference, labels, classes, settings)
    instances = outcome["instances"]
    right_before = [one for one in instances if one["answer_before"] == one["label"]]
    reached = sum(one["forgotten"] for one in right_before)
    reasons: dict[str, str] = {}
    criteria: list[Criterion] = []
    if by_goal:
        forgotten: bool | None = bool(right_before) and outcome["converged"]
    else:
        criteria = reference_criteria(after, reference, settings)
        forgotten = all_hold(criteria)
    if not right_before:
        reasons["forgotten"] = "all_wrong_before"
    elif control["at_chance"]:
        reasons["forgotten"] = "at_chance"
    elif not control["known"]:
        reasons["forgotten"] = "not_known"
    elif forgotten is None:
        reasons["forgotten"] = "no_reference"
    keeping = keeping_criteria(before, after, kept_sets, settings)
    kept = all_hold(keeping)
    if kept is None:
        reasons["kept"] = "nothing_to_compare"
    elif control["at_chance"]:
        reasons["kept"] = "at_chance"
    forgotten, kept = (None if key in reasons else answer for key, answer in (("forgotten", forgotten), ("kept", kept)))
    unseen = as_unseen(audits, settings, shadow)
    decided = all(row.decided for row in (*criteria, *keeping)) and len(right_before) >= FEWEST_UNITS
    return {
        "known": control["known"],
        "forgotten": forgotten,
        "kept": kept,
        "as_unseen": unseen["as_unseen"],
        "sure": True if decided and None not in (forgotten, kept) else None,
        "reasons": reasons,
        "control": control,
        "wrong_before": len(instances) - len(right_before),
        "goal_reached": share(reached, len(right_before), settings.confidence) if right_before else None,
        "by_goal": by_goal,
        "forgetting_criteria": [row.told() for row in criteria],
        "kept_criteria": [row.told() for row in keeping],
        "most_lost": settings.most_lost,
        "over_forgotten": unseen["over_forgotten"],
        "unseen": unseen,
        "confidence": settings.confidence,
        "margin": settings.margin,
    }


def positive_control(
    before: Audit,
    reference: Audit | None,
    labels: Mapping[str, Tensor],
    classes: int,
    settings: VerdictSettings,
) -> dict[str, Any]:
    """Return whether the model knew the instances, before unlearning, better than what was never learnt.

    By their loss, which is lower on what was learnt: against test images, and against a reference on the same
    instances, which tells more where a model generalises well. A reference that is worse on test images than the model
    would make anything look known, so it is passed over. Of two tests the smaller p-value counts, doubled. Without
    either, only whether the model gets more of the instances right than chance would.

    Args:
        before: Of the model before unlearning.
        reference: Of a model that never saw the instances.
        labels: The true classes by set.
        classes: How many classes there are.
        settings: Level of confidence.

    Returns:
        ``known`` (True or None), ``against`` (``test``, ``reference`` or ``chance``), ``accuracy`` on the instances and
        ``level``, that of what it is compared with; ``p_value`` of the one-sided test and the ``smallest_p_value`` that
        so few could give; ``at_chance``, whether the answers to test images, or without them to the instances, are no
        better than chance, and ``chance``.
    """
    level = settings.confidence
    own = before.losses["forget"]
    asked = "test" if "test" in before.right else "forget"
    answers, chance = before.right[asked], 1 / classes
    if asked == "test":
        # A model that always says the most frequent class is no better than that class is frequent.
        chance = max(chance, torch.bincount(labels[asked]).max().item() / len(labels[asked]))
    better = binomtest(int(answers.sum()), len(answers), chance, alternative="greater").pvalue
    tests: dict[str, tuple[float, RankTest]] = {}
    if "test" in before.losses:
        against = rank_test(own, before.losses["test"], alternative="less")
        tests["test"] = before.right["test"].mean().item(), against
    if reference is not None and not _is_worse(reference, before, level):
        paired = paired_rank_test(own, reference.losses["forget"], alternative="less")
        tests["reference"] = reference.right["forget"].mean().item(), paired
    if not tests:
        of_chance = RankTest(float(better), float(chance ** len(own)), (len(own), len(own)))
        tests["chance"] = chance, of_chance
    name = min(tests, key=lambda key: tests[key][1].p_value)
    p_value = min(1.0, len(tests) * tests[name][1].p_value)
    at_chance = bool(better > 1 - level)
    return {
        "known": True if p_value <= 1 - level + 1e-9 and not at_chance else None,
        "against": name,
        "accuracy": before.right["forget"].mean().item(),
        "level": tests[name][0],
        "units": len(own),
        "p_value": p_value,
        "smallest_p_value": min(1.0, len(tests) * tests[name][1].smallest),
        "at_chance": at_chance,
        "chance": chance,
        "chance_of": asked,
        "chance_accuracy": answers.mean().item(),
    }


def _is_worse(reference: Audit, before: Audit, level: float) -> bool:
    """Whether a reference is shown to get fewer test images right than the model."""
    if "test" not in reference.right or "test" not in before.right:
        return False
    high = change_interval(reference.right["test"], before.right["test"], level=level).high
    return high is not None and high < 0


def reference_criteria(after: Audit, reference: Audit | None, settings: VerdictSettings) -> list[Criterion]:
    """Return the comparison of the accuracy on the instances with that of a reference, if there is one."""
    if reference is None:
        return []
    now, level = after.right["forget"], reference.right["forget"]
    return [
        Criterion(
            "forget_accuracy",
            mean_interval(now, level=settings.confidence),
            mean_interval(level, level=settings.confidence),
            "the reference",
            "<=",
            change_interval(now, level, level=settings.confidence),
            settings.margin,
        )
    ]


def keeping_criteria(before: Audit, after: Audit, sets: Sequence[str], settings: VerdictSettings) -> list[Criterion]:
    """Return the comparisons of the accuracy after with that before, less the loss that is allowed, set by set.

    Args:
        before: Of the model before unlearning.
        after: Of the model after it.
        sets: Those that the unlearning did not train on; one that was not looked at is passed over.
        settings: What counts as kept.
    """
    criteria = []
    for name in sets:
        if name not in after.right:
            continue
        was, now = before.right[name], after.right[name]
        allowed = settings.most_lost
        criteria.append(
            Criterion(
                name,
                mean_interval(now, level=settings.confidence),
                mean_interval(was, level=settings.confidence).transformed(lambda mean: mean - allowed),  # noqa: B023 - used at once
                f"before, less {allowed:g}",
                ">=",
                change_interval(now, was, level=settings.confidence).transformed(lambda gain: gain + allowed),  # noqa: B023
            )
        )
    return criteria


def as_unseen(
    audits: Mapping[str, Audit], settings: VerdictSettings, shadow: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return whether the model treats the instances as one that never saw them does.

    No as soon as one test finds a trace either way; yes only by equivalence: the intervals of the difference in
    accuracy and of the attack's AUC lie within the margin. Anything else is undecided.

    Args:
        audits: Of the models.
        settings: Margin and confidence.
        shadow: What shadow models found.

    Returns:
        ``as_unseen``, ``over_forgotten`` (None where no test could show it), ``level`` and ``level_of`` (the accuracy
        of the ``reference`` on the instances, or on ``test`` images before), the interval of the difference, ``auc``
        with its interval and the ``auc`` of a model that never saw them.
    """
    after, reference = audits["after"], audits.get("reference")
    now, level = after.right["forget"], settings.confidence
    if reference is not None:
        of, other = "reference", reference.right["forget"]
        difference = change_interval(now, other, level=level)
    elif "test" in audits["before"].right:
        of, other = "test", audits["before"].right["test"]
        difference = difference_interval(now, other, level=level)
    else:
        return {"as_unseen": None, "over_forgotten": None, "level": None, "level_of": None}
    attack = after.metrics.get("membership", {}).get("forget")
    expected = _CHANCE_AUC
    if reference is not None and "membership" in reference.metrics:
        expected = reference.metrics["membership"]["forget"]["auc"]
    fewer = difference.high is not None and difference.high < 0
    over = fewer or (attack is not None and attack["over_unlearned"])
    traced = attack is not None and attack["traceable"]
    told_apart = shadow is not None and shadow["u_lira"]["accuracy"]["low"] > _CHANCE_AUC
    answer: bool | None = None
    if over or traced or told_apart:
        answer = False
    elif attack is not None and difference.units >= FEWEST_UNITS:
        near = _within(difference.low, difference.high, 0.0, settings.margin)
        same = _within(attack["low"], attack["high"], expected, settings.margin)
        answer = True if near and same else None
    decidable = difference.units >= 2 or (attack is not None and attack["decidable"])
    return {
        "as_unseen": answer,
        "over_forgotten": over if decidable else None,
        "level": other.mean().item(),
        "level_of": of,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "auc": None if attack is None else attack["auc"],
        "auc_low": None if attack is None else attack["low"],
        "auc_high": None if attack is None else attack["high"],
        "auc_reversed": None if attack is None else attack["auc_reversed"],
        "auc_unseen": expected,
    }


def _within(low: float | None, high: float | None, centre: float, margin: float) -> bool:
    """Whether a whole interval lies no farther than the margin from a value; False where there is no interval."""
    return low is not None and high is not None and max(abs(low - centre), abs(high - centre)) <= margin
