"""Names of sets, models and stop reasons in reports about a classifier, and how shares are written."""

from collections.abc import Mapping
from typing import Any

from myosotis.report.groups import interval_text
from myosotis.unlearning.classifier.job.result import ClassifierResult

SETS = {"forget": "Forget", "remaining": "Remaining", "held_remaining": "Remaining, held out", "test": "Test"}
MODELS = {"before": "Before", "after": "After", "reference": "Reference"}
STOP_REASONS = {
    "goal": "the goal was reached",
    "reference": "the accuracy on the forget set came within the margin of the reference's",
    "already": "the goal was reached from the start",
    "epochs": "all epochs were done",
    "steps": "all steps were done",
    "edited": "the method changes the weights once and does not train",
    "came_back": "an instance of an earlier request came back",
    "diverged": "a loss was not finite; the model that came in is returned",
}


def share_text(value: Mapping[str, Any] | None) -> str:
    """Return a share with its interval; ``-`` for none."""
    return "-" if value is None else interval_text(value["mean"], value["low"], value["high"])


def auc_text(value: Mapping[str, Any]) -> str:
    """Return the AUC of an attack with its interval."""
    return interval_text(value["auc"], value["low"], value["high"])


def forget_membership(result: ClassifierResult, model: str = "after") -> Mapping[str, Any] | None:
    """Return the result of membership inference on the forgotten instances; None without test images."""
    attack: Mapping[str, Any] | None = result.metrics.get(model, {}).get("membership", {}).get("forget")
    return attack
