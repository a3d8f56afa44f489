"""Tests of :mod:`myosotis.continual.segmentation.pseudo_labels`."""

import pytest
import torch

from myosotis.continual.segmentation.pseudo_labels import normalised_entropy, pseudo_label


def test_pseudo_labels_touch_the_background_alone():
    target = torch.tensor([[[0, 0, 3, 255]]])
    scores = torch.tensor([[0.1, 0.6, 0.1, 0.1], [0.9, 0.4, 0.9, 0.9]]).view(1, 2, 1, 4)
    sure = torch.tensor([[[True, False, True, True]]])
    assert pseudo_label(target, scores, sure).flatten().tolist() == [1, 0, 3, 255]
    assert pseudo_label(target, scores, sure, "ignore").flatten().tolist() == [1, 255, 3, 255]


def test_normalised_entropy():
    rows = torch.tensor([[0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]])
    found = normalised_entropy(rows.T.reshape(1, 4, 1, 3))
    assert found.flatten().tolist() == pytest.approx([1, 0, 0.5])
