"""The verdict on a run: known before, forgotten, the rest kept, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import scipy  # its parts are loaded where they are used, half a second each
import torch
from torch import Tensor

from myosotis.evaluation.intervals import change_interval, difference_interval, mean_interval
from myosotis.evaluation.rank_test import RankTest, paired_rank_test, rank_test
from myosotis.evaluation.verdict import FEWEST_UNITS, Criterion, all_hold
from myosotis.unlearning.classifier.audit import Audit, share

_CHANCE_AUC = 0.5


@dataclass(frozen=True)
class VerdictSettings:
    """Thresholds for forgotten and for kept.

    Attributes:
        most_lost: Largest loss of accuracy that still counts as kept.
        margin: Difference of accuracy, or of an AUC, below which two models count as equal.
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
    """Return the answers to the questions of a verdict, with the comparisons that they rest on.

    Args:
        audits: Audits of the models ``before``, ``after``, and of the ``reference`` if there is one.
        outcome: Outcome of the unlearning: ``converged`` and ``instances``.
        labels: True classes by set.
        classes: Number of classes.
        settings: Thresholds.
        by_goal: Whether the method aims at errors, so that instances are forgotten once they are misclassified; else
            they are when their accuracy is no higher than that of the reference.
        kept_sets: Sets that decide whether the rest is kept: those that the unlearning did not train on.
        shadow: Results of the attacks with shadow models.

    Returns:
        ``known`` with ``control``; ``forgotten`` with ``goal_reached`` or ``forgetting_criteria``; ``kept`` with
        ``kept_criteria``; ``as_unseen`` with ``over_forgotten``; ``sure``; ``reasons`` of what could not be answered.
        The answers are True, False, or None where no answer is possible.
    """
    before, after, reference = audits["before"], audits["after"], audits.get("reference")
    control = positive_control(before, reference, labels, classes, settings)
    instances = outcome["instances"]
    right_before = [instance for instance in instances if instance["answer_before"] == instance["label"]]
    reached = sum(instance["forgotten"] for instance in right_before)
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
        "forgetting_criteria": [row.as_json() for row in criteria],
        "kept_criteria": [row.as_json() for row in keeping],
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
    """Return whether the model knew the instances, before unlearning, better than unseen ones.

    The loss is lower on training samples, so it is tested against test images, and against a reference on the same
    instances, which is more sensitive where a model generalises well. A reference that is worse on test images than the
    model would make anything look known, so it is ignored. Of two tests the smaller p-value counts, doubled. Without
    either, the test is whether the model gets more of the instances right than chance would.

    Args:
        before: Audit of the model before unlearning.
        reference: Audit of a model that never saw the instances.
        labels: True classes by set.
        classes: Number of classes.
        settings: Level of confidence.

    Returns:
        ``known`` (True or None), ``test`` (``test``, ``reference`` or ``chance``), ``accuracy`` on the instances and
        ``level``, the accuracy that it is compared with; ``p_value`` of the one-sided test and the ``smallest_p_value``
        that so few images could give; ``at_chance``, whether the accuracy on test images, or without them on the
        instances, is no better than chance, and ``chance``.
    """
    level = settings.confidence
    losses = before.losses["forget"]
    control_set = "test" if "test" in before.right else "forget"
    correct, chance = before.right[control_set], 1 / classes
    if control_set == "test":
        # A model that always predicts the most frequent class is right as often as that class occurs.
        chance = max(chance, torch.bincount(labels[control_set]).max().item() / len(labels[control_set]))
    p_better = scipy.stats.binomtest(int(correct.sum()), len(correct), chance, alternative="greater").pvalue
    tests: dict[str, tuple[float, RankTest]] = {}
    if "test" in before.losses:
        test = rank_test(losses, before.losses["test"], alternative="less")
        tests["test"] = before.right["test"].mean().item(), test
    if reference is not None and not _is_worse(reference, before, level):
        paired = paired_rank_test(losses, reference.losses["forget"], alternative="less")
        tests["reference"] = reference.right["forget"].mean().item(), paired
    if not tests:
        of_chance = RankTest(float(p_better), float(chance ** len(losses)), (len(losses), len(losses)))
        tests["chance"] = chance, of_chance
    name = min(tests, key=lambda key: tests[key][1].p_value)
    p_value = min(1.0, len(tests) * tests[name][1].p_value)
    at_chance = bool(p_better > 1 - level)
    return {
        "known": True if p_value <= 1 - level + 1e-9 and not at_chance else None,
        "against": name,
        "accuracy": before.right["forget"].mean().item(),
        "level": tests[name][0],
        "units": len(losses),
        "p_value": p_value,
        "smallest_p_value": min(1.0, len(tests) * tests[name][1].smallest),
        "at_chance": at_chance,
        "chance": chance,
        "chance_of": control_set,
        "chance_accuracy": correct.mean().item(),
    }


def _is_worse(reference: Audit, before: Audit, level: float) -> bool:
    """Whether a reference is significantly less accurate on test images than the model."""
    if "test" not in reference.right or "test" not in before.right:
        return False
    high = change_interval(reference.right["test"], before.right["test"], level=level).high
    return high is not None and high < 0


def reference_criteria(after: Audit, reference: Audit | None, settings: VerdictSettings) -> list[Criterion]:
    """Return the comparison of the accuracy on the instances with that of a reference, if there is one."""
    if reference is None:
        return []
    right, reference_right = after.right["forget"], reference.right["forget"]
    return [
        Criterion(
            "forget_accuracy",
            mean_interval(right, level=settings.confidence),
            mean_interval(reference_right, level=settings.confidence),
            "the reference",
            "<=",
            change_interval(right, reference_right, level=settings.confidence),
            settings.margin,
        )
    ]


def keeping_criteria(before: Audit, after: Audit, sets: Sequence[str], settings: VerdictSettings) -> list[Criterion]:
    """Return the comparisons of the accuracy after with that before, less the allowed loss, set by set.

    Args:
        before: Audit of the model before unlearning.
        after: Audit of the model after it.
        sets: Sets that the unlearning did not train on; sets that were not audited are skipped.
        settings: Thresholds.
    """
    criteria = []
    allowed, level = settings.most_lost, settings.confidence
    for name in sets:
        if name not in after.right:
            continue
        right_before, right_after = before.right[name], after.right[name]
        threshold = mean_interval(right_before, level=level).transformed(lambda mean: mean - allowed)
        gain = change_interval(right_after, right_before, level=level).transformed(lambda gain: gain + allowed)
        value = mean_interval(right_after, level=level)
        criteria.append(Criterion(name, value, threshold, f"before, less {allowed:g}", ">=", gain))
    return criteria


def as_unseen(
    audits: Mapping[str, Audit], settings: VerdictSettings, shadow: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return whether the model treats the instances as if it had never seen them.

    The answer is no as soon as one test finds a trace in either direction, and yes only by equivalence: the intervals
    of the difference in accuracy and of the attack's AUC lie within the margin. Otherwise it is undecided.

    Args:
        audits: Audits of the models.
        settings: Margin and confidence.
        shadow: Results of the attacks with shadow models.

    Returns:
        ``as_unseen``, ``over_forgotten`` (None where no test could show it), ``level`` and ``level_of`` (the accuracy
        of the ``reference`` on the instances, or on ``test`` images before), the interval of the difference, ``auc``
        with its interval and the ``auc`` of a model that never saw them.
    """
    after, reference = audits["after"], audits.get("reference")
    after_right, level = after.right["forget"], settings.confidence
    if reference is not None:
        source, expected_right = "reference", reference.right["forget"]
        difference = change_interval(after_right, expected_right, level=level)
    elif "test" in audits["before"].right:
        source, expected_right = "test", audits["before"].right["test"]
        difference = difference_interval(after_right, expected_right, level=level)
    else:
        return {"as_unseen": None, "over_forgotten": None, "level": None, "level_of": None}
    attack = after.metrics.get("membership", {}).get("forget")
    expected = _CHANCE_AUC
    if reference is not None and "membership" in reference.metrics:
        expected = reference.metrics["membership"]["forget"]["auc"]
    fewer = difference.high is not None and difference.high < 0
    over = fewer or (attack is not None and attack["over_unlearned"])
    traceable = attack is not None and attack["traceable"]
    distinguished = shadow is not None and shadow["u_lira"]["accuracy"]["low"] > _CHANCE_AUC
    answer: bool | None = None
    if over or traceable or distinguished:
        answer = False
    elif attack is not None and difference.units >= FEWEST_UNITS:
        near = _within(difference.low, difference.high, 0.0, settings.margin)
        same = _within(attack["low"], attack["high"], expected, settings.margin)
        answer = True if near and same else None
    decidable = difference.units >= 2 or (attack is not None and attack["decidable"])
    return {
        "as_unseen": answer,
        "over_forgotten": over if decidable else None,
        "level": expected_right.mean().item(),
        "level_of": source,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "auc": None if attack is None else attack["auc"],
        "auc_low": None if attack is None else attack["low"],
        "auc_high": None if attack is None else attack["high"],
        "auc_reversed": None if attack is None else attack["auc_reversed"],
        "auc_unseen": expected,
    }


def _within(low: float | None, high: float | None, centre: float, margin: float) -> bool:
    """Whether an interval lies within the margin around a value; False without an interval."""
    return low is not None and high is not None and max(abs(low - centre), abs(high - centre)) <= margin
