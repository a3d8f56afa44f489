"""From a matrix of accuracies over a stream of tasks to the figures of the literature.

``matrix[k, j]`` is the accuracy on the test set of task j after task k has been learnt, both counted from 0. Entries
above the diagonal may be NaN, except for :func:`forward_transfer`; any other missing entry is refused, since a zero in
its place would be a figure nobody measured.

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
    """Return the accuracy on all classes seen so far, after each task: what papers plot.

    Args:
        matrix: See the module.
        counts: Test samples of each task, by which tasks are weighed; None weighs them alike.

    Raises:
        ValueError: The matrix is incomplete, or ``counts`` does not fit it.
    """
    lower = _lower(matrix)
    weights = torch.ones(len(lower), dtype=torch.float64) if counts is None else torch.tensor(counts).double()
    if len(weights) != len(lower) or bool((weights <= 0).any()):
        raise ValueError(f"counts needs a positive number for each of {len(lower)} tasks, got {list(counts or ())}")
    seen = torch.ones_like(lower).tril() * weights
    return (lower * seen).sum(1) / seen.sum(1)


def average_incremental_accuracy(matrix: Matrix, counts: Sequence[int] | None = None) -> float:
    """Return the mean over tasks of the accuracy on all classes seen so far (Rebuffi et al., CVPR 2017).

    Args:
        matrix: See the module.
        counts: Test samples of each task. Without them it is the task-mean form, which differs where tasks do in size.

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
    """Return how much accuracy earlier tasks have lost at the end, on average.

    Args:
        matrix: Of at least two tasks.
        variant: Lost against what. ``"best_before_last"``: the best before the last task, which may be below the final
            one, so that the mean may be negative (Chaudhry et al., ECCV 2018). ``"best"``: the best of all,
            never negative, as Mammoth and PyCIL have it. ``"after_learning"``: what the task had when it was learnt,
            the negative of backward transfer, as Avalanche has it.

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
    """Return what earlier tasks gained since they were learnt, on average (Lopez-Paz and Ranzato, NIPS 2017).

    Raises:
        ValueError: The matrix is incomplete or has one task.
    """
    return -forgetting(matrix, "after_learning")


def forward_transfer(matrix: Matrix, untrained: Sequence[float]) -> float:
    """Return what tasks gained before they were learnt, on average (Lopez-Paz and Ranzato, NIPS 2017).

    Args:
        matrix: With the entries just above the diagonal.
        untrained: Accuracy on each task of a model that learnt nothing.

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
    """Return what each task lacks, when learnt, to a model trained on everything so far (Chaudhry et al., ECCV 2018).

    Args:
        matrix: See the module.
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
    kept = torch.ones_like(numbers).tril().bool()
    if bool(numbers[kept].isnan().any()):
        row, column = (kept & numbers.isnan()).nonzero()[0].tolist()
        raise ValueError(f"the accuracy on task {column} after task {row} is missing")
    return torch.where(kept, numbers, 0.0)


def _several(matrix: Matrix) -> Tensor:
    if len(matrix) < 2:
        raise ValueError("this takes at least two tasks")
    return _lower(matrix)


def _number(value: Tensor, matrix: Matrix) -> float:
    if torch.as_tensor(matrix).dtype == torch.float64:
        return value.item()
    # Without rounding 0.825 would be shown as 0.8250000029802322.
    return round(value.item(), 7)
