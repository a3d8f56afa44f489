"""Statistics of masks."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.mask_statistics import MaskStatistics
from myosotis.pretraining.maskers import build_masker


def test_statistics_follow_the_threshold_of_the_masker():
    masker = build_masker("salience", {"spread": 0.2, "threshold": 0.2, "noise": 0.0, "warmup": 0.0})
    salience = torch.tensor([[0.0, 0.1, 0.3, 1.0], [0.0, 0.1, 0.15, 1.0]])
    statistics = MaskStatistics(masker)
    statistics.add(masker.from_salience(salience, 0.5, 1.0, generator(0)))
    summary = statistics.summary()
    assert summary["salient_share"] == pytest.approx(3 / 8)
    # The lower one of two in the middle.
    assert summary["salience_median"] == pytest.approx(0.1)
    # Ratios of 0.5 and 0.4 of four tokens: two and one of them stay visible... counted, not assumed.
    assert summary["ratio"] == pytest.approx(0.5)
    assert summary["guide_of_hidden"] > summary["guide_of_visible"]
