"""Tests of :mod:`myosotis.continual.classification.distillation`."""

import pytest
import torch
from torch.nn import functional

from myosotis.continual.classification.distillation import (
    distillation,
    feature_distance,
    pod_spatial,
    pod_vector,
    proportional_distillation,
    task_distillation,
)

Z, OLD = torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[2.0, 1.0, 0.0]])


def close(value, wanted, tolerance=1e-6):
    assert torch.as_tensor(value).item() == pytest.approx(wanted, abs=tolerance)


def test_distillation():
    close(distillation(Z, OLD, 1.0), 1.264656)
    close(distillation(Z, OLD, 2.0), 1.124821)
    four = torch.tensor([[1.0, 2.0, 0.5, 3.0]])
    # A softmax over all columns, sliced afterwards, would give another value.
    close(distillation(four[:, :3], OLD, 2.0), 1.124821)
    sliced = -((OLD / 2).softmax(1) * (four / 2).log_softmax(1)[:, :3]).sum()
    assert abs(float(sliced) - 1.124821) > 0.1


def test_the_share_of_old_classes_weighs_distillation():
    z, old = torch.randn(4, 60), torch.randn(4, 50)
    labels = torch.tensor([0, 10, 55, 59])
    found = proportional_distillation(z, labels, old, 2.0)
    close(found["cross_entropy"] / functional.cross_entropy(z, labels), 1 / 6, 1e-5)
    close(found["distillation"] / distillation(z[:, :50], old, 2.0), 0.833333, 1e-5)
    assert list(proportional_distillation(z, labels, None)) == ["cross_entropy"]


def test_distillation_within_tasks():
    close(task_distillation(Z, OLD, [3], 2.0), 0.418517)
    close(task_distillation(Z, OLD, [3], 1.0), 0.432260)
    both = task_distillation(torch.cat([Z, Z], 1), torch.cat([OLD, OLD], 1), [3, 3], 2.0)
    close(both, 2 * 0.418517, 2e-6)
    # Within a task a constant does not matter; across tasks it is free.
    close(task_distillation(torch.cat([Z, Z + 9], 1), torch.cat([OLD, OLD], 1), [3, 3], 2.0), 2 * 0.418517, 2e-6)


def test_pod():
    one = torch.tensor([[[[0.0, 1], [2, 3]]]])
    other = torch.tensor([[[[0.0, 1], [2, 5]]]])
    assert pod_vector(one)[0].tolist() == pytest.approx([0.059131, 0.768706, 0.236525, 0.591312], abs=1e-6)
    assert pod_vector(other)[0].tolist() == pytest.approx([0.025532, 0.740432, 0.102129, 0.663836], abs=1e-6)
    close(pod_spatial([one], [other]), 0.158904)
    close(pod_spatial([one, one], [other, one]), 0.158904 / 2)
    close(feature_distance(torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 2]])), 1.0)
