import pytest
import torch

from myosotis.evaluation.calibration import calibration_error


def by_bins(probabilities, labels, bins):
    top, answer = probabilities.max(dim=1)
    total = 0.0
    for number in range(bins):
        inside = (top > number / bins) & (top <= (number + 1) / bins)
        if inside.any():
            accuracy = (answer == labels)[inside].double().mean()
            total += inside.double().mean().item() * abs(accuracy - top[inside].double().mean()).item()
    return total


def test_agrees_with_bins_one_by_one():
    probabilities = torch.randn(200, 4).softmax(dim=1)
    labels = torch.randint(4, (200,))
    assert calibration_error(probabilities, labels, 10) == pytest.approx(by_bins(probabilities, labels, 10), abs=1e-6)


def test_certain_and_right_is_calibrated():
    certain = torch.eye(3)
    assert calibration_error(certain, torch.arange(3)) == 0
    assert calibration_error(certain, torch.tensor([1, 2, 0])) == 1


def test_no_sample():
    with pytest.raises(ValueError, match="at least one"):
        calibration_error(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
