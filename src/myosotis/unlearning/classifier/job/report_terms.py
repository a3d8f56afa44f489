"""What the pages about a classifier call things, and how they write shares."""

from collections.abc import Mapping
from typing import Any

SETS = {"forget": "Forget", "remaining": "Remaining", "held_remaining": "Remaining, held out", "test": "Test"}
MODELS = {"before": "Before", "after": "After", "reference": "Reference"}
STOP_REASONS = {
    "goal": "the goal was reached",
    "reference": "accuracy and loss on the forget set reached those of the reference",
    "already": "nothing had to be done: the goal was reached from the start",
    "epochs": "its epochs were done",
    "steps": "its steps were done",
    "edited": "it changes the weights once and does not train",
    "came_back": "an instance of an earlier request came back",
    "diverged": "a loss was not finite; the model that came in is returned",
}


def share_text(value: Mapping[str, Any] | None) -> str:
    """Return a share with its interval, or a dash."""
    if value is None:
        return "-"
    return f"{value['mean']:.3f} {interval_text(value)}"


def interval_text(value: Mapping[str, Any]) -> str:
    """Return an interval in brackets, or nothing where there is none."""
    return "" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]"


def forget_membership(result: Mapping[str, Any], model: str = "after") -> Mapping[str, Any] | None:
    """Return what membership inference found of the forgotten instances, or None without test images."""
    found: Mapping[str, Any] | None = result["metrics"].get(model, {}).get("membership", {}).get("forget")
    return found
