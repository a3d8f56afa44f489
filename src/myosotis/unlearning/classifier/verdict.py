"""What the figures of a run amount to."""

from collections.abc import Mapping
from typing import Any

from myosotis.unlearning.classifier.audit import over_forgotten, share


def verdict(
    audits: Mapping[str, Any], outcome: Mapping[str, Any], most_lost: float, confidence: float
) -> dict[str, Any]:
    """Return whether the instances are forgotten, the rest is kept, and more was forgotten than should be.

    Args:
        audits: What :func:`~myosotis.unlearning.classifier.audit.audit_sets` gave ``before``, ``after``, and where
            there is one of the ``reference``.
        outcome: Of the unlearning: ``converged`` and ``instances``.
        most_lost: A loss of accuracy up to this still counts as kept.
        confidence: Level of the intervals.

    Returns:
        ``forgotten``, ``goal_reached`` (share of instances), ``kept`` (None where nothing could be looked at) with
        ``kept_criteria``, ``over_forgotten`` against ``level``, the accuracy of ``level_of`` (the reference, or test
        images before), and the two settings.
    """
    before, after, reference = audits["before"], audits["after"], audits.get("reference")
    level, level_of = None, None
    if reference is not None:
        level, level_of = reference["forget"]["accuracy"]["mean"], "reference"
    elif "test" in before:
        level, level_of = before["test"]["accuracy"]["mean"], "test"
    kept = {}
    for name in ("remaining", "test"):
        if name in after:
            was, now = before[name]["accuracy"]["mean"], after[name]["accuracy"]["mean"]
            kept[name] = {"before": was, "after": now, "holds": was - now <= most_lost}
    instances = outcome["instances"]
    return {
        "forgotten": outcome["converged"],
        "goal_reached": share(sum(one["forgotten"] for one in instances), len(instances), confidence),
        "kept": all(row["holds"] for row in kept.values()) if kept else None,
        "kept_criteria": kept,
        "most_lost": most_lost,
        "over_forgotten": None if level is None else over_forgotten(after["forget"]["accuracy"], level),
        "level": level,
        "level_of": level_of,
        "confidence": confidence,
    }
