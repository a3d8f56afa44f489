"""From a matrix of accuracies over a stream of tasks to the figures of the literature.

``matrix[k, j]`` is the accuracy on the test set of task j after task k has been learnt, both counted from 0. Entries
above the diagonal may be NaN, except for :func:`forward_transfer`; any other missing entry is refused, since a zero
instead would be a figure that nobody measured.

A matrix is a tensor or a NumPy array. Figures of a matrix in float32 are rounded to seven digits, as it has no more;
those of one in float64 are not.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

ForgettingVariant = Literal["best_before_last", "best", "after_learning"]

Matrix = Float[Tensor, "tasks tasks"] | Float[np.ndarray, "tasks tasks"]


def accuracy_curve(matrix: Matrix, counts: Sequence[int] | None = None) -> Float[Tensor, " tasks"]:
    """Return the accuracy on all known classes after each task, as papers plot it.

    Args:
        matrix: Accuracies, see the module.
        counts: Test samples of each task, which weigh the tasks; None weighs them equally.

    Raises:
        ValueError: The matrix is incomplete, or ``counts`` does not fit it.
    """
    lower = _lower(matrix)
    weights = torch.ones(len(lower), dtype=torch.float64) if counts is None else torch.tensor(counts).double()
    if len(weights) != len(lower) or bool((weights <= 0).any()):
        raise ValueError(f"counts needs a positive number for each of {len(lower)} tasks, got {list(counts or ())}")
    weights = torch.ones_like(lower).tril() * weights
    return (lower * weights).sum(1) / weights.sum(1)


def average_incremental_accuracy(matrix: Matrix, counts: Sequence[int] | None = None) -> float:
    """Return the mean over tasks of the accuracy on all known classes (Rebuffi et al., CVPR 2017).

    Args:
        matrix: Accuracies, see the module.
        counts: Test samples of each task. Without them it is the task-mean form, which differs if sizes of tasks do.

    Raises:
        ValueError: The matrix is incomplete.

    Example:
        >>> average_incremental_accuracy(torch.tensor([[0.9, 0.1], [0.7, 0.8]]))
        0.825
    """
    return _number(accuracy_curve(matrix, counts).mean(), matrix)


def final_accuracy(matrix: Matrix, counts: Sequence[int] | None = None) -> float:
    """Return the accuracy on all classes at the end; arguments as for :func:`average_incremental_accuracy`."""
    return _number(accuracy_curve(matrix, counts)[-1], matrix)


def forgetting(matrix: Matrix, variant: ForgettingVariant = "best_before_last") -> float:
    """Return the mean accuracy that earlier tasks have lost at the end.

    Args:
        matrix: Accuracies of at least two tasks.
        variant: Reference of the loss. ``"best_before_last"``: the best before the last task, which may be below the
            final accuracy, so that the mean may be negative (Chaudhry et al., ECCV 2018). ``"best"``: the best of all,
            never negative, as in Mammoth and PyCIL. ``"after_learning"``: the accuracy right after the task, which is
            the negative of backward transfer, as in Avalanche.

    Raises:
        ValueError: The matrix is incomplete or has one task.
    """
    lower = _several(matrix)
    last = len(lower) - 1
    if variant == "after_learning":
        reference = lower.diagonal()[:last]
    else:
        until = last if variant == "best_before_last" else last + 1
        reference = torch.stack([lower[task:until, task].max() for task in range(last)])
    return _number((reference - lower[last, :last]).mean(), matrix)


def backward_transfer(matrix: Matrix) -> float:
    """Return the mean gain of earlier tasks since they were learnt (Lopez-Paz and Ranzato, NIPS 2017).

    Raises:
        ValueError: The matrix is incomplete or has one task.
    """
    return -forgetting(matrix, "after_learning")


def forward_transfer(matrix: Matrix, untrained: Sequence[float]) -> float:
    """Return the mean gain of tasks before they were learnt (Lopez-Paz and Ranzato, NIPS 2017).

    Args:
        matrix: Accuracies, the entries just above the diagonal included.
        untrained: Accuracy on each task of an untrained model.

    Raises:
        ValueError: An entry is missing, there is one task, or ``untrained`` does not fit.
    """
    _several(matrix)
    if len(untrained) != len(matrix):
        raise ValueError(f"untrained needs a number for each of {len(matrix)} tasks, got {len(untrained)}")
    ahead = torch.as_tensor(matrix).double().diagonal(1)
    if bool(ahead.isnan().any()):
        raise ValueError("forward transfer needs the accuracy on each task before it is learnt")
    return _number((ahead - torch.tensor(untrained).double()[1:]).mean(), matrix)


def intransigence(matrix: Matrix, joint: Sequence[float]) -> float:
    """Return the mean gap of tasks, when learnt, to a model trained on all data so far (Chaudhry et al., ECCV 2018).

    Args:
        matrix: Accuracies, see the module.
        joint: Accuracy on task k of a model trained jointly on tasks 0 to k.

    Raises:
        ValueError: The matrix is incomplete or ``joint`` does not fit.
    """
    lower = _lower(matrix)
    if len(joint) != len(lower):
        raise ValueError(f"joint needs a number for each of {len(lower)} tasks, got {len(joint)}")
    return _number((torch.tensor(joint).double() - lower.diagonal()).mean(), matrix)


def learning_accuracy(matrix: Matrix) -> float:
    """Return the mean accuracy on each task right after it was learnt (Riemer et al., ICLR 2019)."""
    return _number(_lower(matrix).diagonal().mean(), matrix)


def worst_case_accuracy(matrix: Matrix) -> float:
    """Return the mean over earlier tasks of the lowest accuracy that each had later (De Lange et al., ICLR 2023).

    Raises:
        ValueError: The matrix is incomplete or has one task.
    """
    lower = _several(matrix)
    return _number(torch.stack([lower[task + 1 :, task].min() for task in range(len(lower) - 1)]).mean(), matrix)


def _lower(matrix: Matrix) -> Tensor:
    if not len(matrix):
        raise ValueError("the matrix has no task")
    numbers = torch.as_tensor(matrix).double()
    measured = torch.ones_like(numbers).tril().bool()
    if bool(numbers[measured].isnan().any()):
        row, column = (measured & numbers.isnan()).nonzero()[0].tolist()
        raise ValueError(f"the accuracy on task {column} after task {row} is missing")
    return torch.where(measured, numbers, 0.0)


def _several(matrix: Matrix) -> Tensor:
    if len(matrix) < 2:
        raise ValueError("the figure needs at least two tasks, the matrix has one")
    return _lower(matrix)


def _number(value: Tensor, matrix: Matrix) -> float:
    if torch.as_tensor(matrix).dtype == torch.float64:
        return value.item()
    # Without rounding 0.825 would be shown as 0.8250000029802322.
    return round(value.item(), 7)
