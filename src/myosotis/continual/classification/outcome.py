"""The figures of a result from the measurements after each task."""

from typing import Any

import torch

from myosotis.continual.classification.training import Learned
from myosotis.continual.metrics import (
    accuracy_curve,
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    learning_accuracy,
    worst_case_accuracy,
)
from myosotis.data.images import ImageSet
from myosotis.evaluation.intervals import clopper_pearson


def figures(learned: Learned) -> dict[str, Any]:
    """Return every figure of the accuracy matrix, by the names of :mod:`myosotis.continual.metrics`; JSON-ready."""
    matrix, counts = learned.matrix(), learned.counts
    metrics: dict[str, Any] = {
        "average_incremental_accuracy": average_incremental_accuracy(matrix, counts),
        "average_incremental_accuracy_task_mean": average_incremental_accuracy(matrix),
        "final_accuracy": final_accuracy(matrix, counts),
        "final_accuracy_task_mean": final_accuracy(matrix),
        "final_task_aware_accuracy": final_accuracy(learned.matrix("task_aware"), counts),
        "learning_accuracy": learning_accuracy(matrix),
        "accuracy_curve": accuracy_curve(matrix, counts).tolist(),
    }
    if len(matrix) > 1:
        metrics["forgetting"] = forgetting(matrix)
        metrics["forgetting_best"] = forgetting(matrix, "best")
        metrics["forgetting_after_learning"] = forgetting(matrix, "after_learning")
        metrics["backward_transfer"] = backward_transfer(matrix)
        metrics["worst_case_accuracy"] = worst_case_accuracy(matrix)
    if learned.records[0].validation:
        metrics["validation_average_incremental_accuracy"] = average_incremental_accuracy(learned.matrix("validation"))
    return metrics


def confusion(learned: Learned, test: ImageSet) -> list[list[int]]:
    """Return the number of test samples of each class (rows) predicted as each class (columns) at the end."""
    classes = len(test.classes)
    pairs = test.labels * classes + learned.answers
    table: list[list[int]] = torch.bincount(pairs, minlength=classes**2).view(classes, classes).tolist()
    return table


def old_and_new_errors(table: list[list[int]], new: int) -> dict[str, float]:
    """Return the four kinds of error at the end, as shares of all test samples (Ahn et al., ICCV 2021).

    ``old_as_new`` are samples of earlier tasks that are predicted as a class of the last task, and so on;
    ``old_as_old`` and ``new_as_new`` are errors within each side.

    Args:
        table: Confusion matrix, see :func:`confusion`.
        new: Number of classes of the last task.

    Example:
        >>> old_and_new_errors([[1, 1, 2], [0, 3, 1], [1, 0, 1]], 1)
        {'old_as_old': 0.1, 'old_as_new': 0.3, 'new_as_old': 0.1, 'new_as_new': 0.0}
    """
    counts = torch.tensor(table)
    wrong = counts - counts.diagonal().diag()
    old = len(counts) - new
    parts = {
        "old_as_old": wrong[:old, :old],
        "old_as_new": wrong[:old, old:],
        "new_as_old": wrong[old:, :old],
        "new_as_new": wrong[old:, old:],
    }
    return {name: int(part.sum()) / int(counts.sum()) for name, part in parts.items()}


def accuracy_interval(table: list[list[int]], confidence: float) -> dict[str, Any]:
    """Return the accuracy of a confusion matrix with its exact interval over test samples."""
    counts = torch.tensor(table)
    correct, total = int(counts.diagonal().sum()), int(counts.sum())
    low, high = clopper_pearson(correct, total, confidence)
    return {"mean": correct / total, "low": low, "high": high, "count": total}
