"""Names of sets, models and stop reasons in reports about a classifier, and how shares are written."""

from myosotis.report.groups import interval_text
from myosotis.unlearning.classifier.job.result import Attack, Rmia, SetFigures, Share

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


def share_text(value: Share | None) -> str:
    """Return a share with its interval; ``-`` for none."""
    return "-" if value is None else interval_text(value.mean, value.low, value.high)


def accuracy_text(figures: SetFigures | None) -> str:
    """Return the accuracy on a set with its interval; ``-`` where there is no such set."""
    return share_text(None if figures is None else figures.accuracy)


def auc_text(value: Attack | Rmia) -> str:
    """Return the AUC of an attack with its interval."""
    return interval_text(value.auc, value.low, value.high)
