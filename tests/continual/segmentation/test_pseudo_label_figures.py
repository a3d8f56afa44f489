"""Tests of :mod:`myosotis.continual.segmentation.pseudo_label_figures`."""

import pytest
import torch
from torch.nn import functional

from myosotis.continual.segmentation.pseudo_label_figures import pseudo_label_figures


def test_what_was_seen_is_labelled_better(learn, stream):
    """The control of the overlapped scenario: images that a network was trained on, and others."""
    scenario = stream("overlapped", count=60)
    found = learn("finetune", scenario=scenario, iterations=60).records[1].pseudo_labels
    assert found.seen.images > 0
    assert found.seen.old_pixels > 0
    # Overlapped: whatever shows an old class has been seen.
    assert found.unseen.old_pixels == 0
    assert found.unseen.right is None


def test_pseudo_label_figures_by_hand(learner, pixels, stream):
    scenario = stream("partitioned")

    always = learner("finetune")  # answers with channel 1 everywhere
    always.scores = lambda pixels: functional.one_hot(torch.ones(len(pixels), 12, 12).long(), 3).movedim(-1, 1).float()
    found = pseudo_label_figures(always, scenario, 1, "cpu").unseen
    rows = scenario.train.areas[scenario.tasks[1].train]
    assert found.old_pixels == rows[:, 1:3].sum()
    assert found.right == pytest.approx(rows[:, 1].sum().item() / rows[:, 1:3].sum().item())
    assert found.other_pixels == rows[:, 3:6].sum()
    assert found.taken_for_old == 1
