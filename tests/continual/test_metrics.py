"""Figures of an accuracy matrix, by hand."""

import numpy as np
import pytest
import torch

from myosotis.continual.metrics import (
    accuracy_curve,
    average_incremental_accuracy,
    backward_transfer,
    final_accuracy,
    forgetting,
    forward_transfer,
    intransigence,
    learning_accuracy,
    worst_case_accuracy,
)

MATRIX = torch.tensor(
    [[0.90, 0.10, 0.05, 0.10], [0.70, 0.80, 0.10, 0.20], [0.60, 0.75, 0.85, 0.15], [0.50, 0.65, 0.70, 0.95]]
)
COUNTS = [200, 100, 100, 100]


def test_accuracy():
    assert average_incremental_accuracy(MATRIX) == pytest.approx(0.770833, abs=1e-6)
    assert average_incremental_accuracy(MATRIX, COUNTS) == pytest.approx(0.748333, abs=1e-6)
    assert final_accuracy(MATRIX) == pytest.approx(0.70)
    assert final_accuracy(MATRIX, COUNTS) == pytest.approx(0.66)
    assert accuracy_curve(MATRIX, COUNTS).tolist() == pytest.approx([0.9, 0.733333, 0.7, 0.66], abs=1e-6)


def test_transfer_and_forgetting():
    assert forgetting(MATRIX) == pytest.approx(0.233333, abs=1e-6)
    assert backward_transfer(MATRIX) == pytest.approx(-0.233333, abs=1e-6)
    assert forward_transfer(MATRIX, [0.1] * 4) == pytest.approx(0.016667, abs=1e-6)
    assert learning_accuracy(MATRIX) == pytest.approx(0.875)
    assert intransigence(MATRIX, [0.92, 0.88, 0.90, 0.96]) == pytest.approx(0.04)
    assert worst_case_accuracy(MATRIX) == pytest.approx((0.5 + 0.65 + 0.7) / 3)


def test_three_published_kinds_of_forgetting():
    matrix = MATRIX.clone()
    matrix[2, 0], matrix[3, 1] = 0.95, 0.90
    assert forgetting(matrix) == pytest.approx(0.166667, abs=1e-6)
    assert forgetting(matrix, "best") == pytest.approx(0.2)
    assert forgetting(matrix, "after_learning") == pytest.approx(0.15)
    assert backward_transfer(matrix) == pytest.approx(-0.15)


def test_incomplete_matrices_are_refused():
    hole = MATRIX.clone()
    hole[2, 1] = float("nan")
    for figure in (average_incremental_accuracy, forgetting, learning_accuracy, worst_case_accuracy):
        with pytest.raises(ValueError, match="task 1 after task 2 is missing"):
            figure(hole)
    lower = MATRIX.clone()
    lower[0, 1] = float("nan")
    assert forgetting(lower) == forgetting(MATRIX)
    with pytest.raises(ValueError, match="before it is learnt"):
        forward_transfer(lower, [0.1] * 4)
    for figure in (forgetting, worst_case_accuracy, backward_transfer):
        with pytest.raises(ValueError, match="at least two tasks"):
            figure(MATRIX[:1, :1])
    with pytest.raises(ValueError, match="no task"):
        final_accuracy(MATRIX[:0, :0])
    for wrong in (lambda: forward_transfer(MATRIX, [0.1]), lambda: intransigence(MATRIX, [0.1])):
        with pytest.raises(ValueError, match="for each of 4 tasks, got 1"):
            wrong()
    with pytest.raises(ValueError, match="positive number for each of 4 tasks"):
        final_accuracy(MATRIX, [1, 2])


def test_figures_of_double_precision_are_not_rounded():
    """An average incremental accuracy of .5244011213745 used to be .5244011."""
    values = torch.rand(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    curve = [sum(values[row, : row + 1].tolist()) / (row + 1) for row in range(4)]
    assert average_incremental_accuracy(values) == pytest.approx(sum(curve) / 4, abs=1e-15)
    assert final_accuracy(values) == pytest.approx(curve[-1], abs=1e-15)
    assert final_accuracy(values.float()) == round(final_accuracy(values), 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_matrices_too(dtype):
    array = MATRIX.numpy().astype(dtype)
    tensor = torch.from_numpy(array)
    for figure in (average_incremental_accuracy, final_accuracy, forgetting, backward_transfer, learning_accuracy):
        assert figure(array) == figure(tensor)
    assert accuracy_curve(array, COUNTS).equal(accuracy_curve(tensor, COUNTS))
    assert worst_case_accuracy(array) == worst_case_accuracy(tensor)
    untrained = [0.1, 0.2, 0.3, 0.4]
    assert forward_transfer(array, untrained) == forward_transfer(tensor, untrained)
    assert intransigence(array, untrained) == intransigence(tensor, untrained)
    array[2, 1] = np.nan
    with pytest.raises(ValueError, match="task 1 after task 2 is missing"):
        forgetting(array)
