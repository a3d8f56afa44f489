"""Figures of an accuracy matrix, by hand."""

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
