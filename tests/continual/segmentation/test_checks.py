"""Tests of :mod:`myosotis.continual.segmentation.checks`."""

import pytest

from myosotis.continual.segmentation.checks import check_segmentation
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.methods import METHODS
from myosotis.engine.errors import DivergedError


def test_settings_that_do_not_fit(learn, learner, stream, train_settings):
    check = check_segmentation
    scenario, memory = stream(), SegmentationMemory(8)
    with pytest.raises(ValueError, match="'mib_m' needs a 'memory'"):
        check(learner("mib_m"), scenario, SegmentationMemory(), train_settings())
    with pytest.raises(ValueError, match="'mib' reads no exemplars"):
        check(learner("mib"), scenario, memory, train_settings())
    with pytest.raises(ValueError, match="is 7, expected a multiple of 2"):
        check(learner("mib_m"), scenario, memory, train_settings(batch_size=7))
    with pytest.raises(ValueError, match="needs a 'crop'"):
        check(learner("mib_m"), scenario, memory, train_settings(scale=(0.5, 2.0)))
    with pytest.raises(ValueError, match="did you mean 'scope'"):
        METHODS.settings("mib_augm", {"scop": "old"})
    with pytest.raises(ValueError, match="unknown method 'mibm'"):
        METHODS.settings("mibm")
    with pytest.raises(DivergedError, match="diverged in task 1"):
        learn("finetune", learning_rate=1e12, schedule="constant", optimizer="sgd")
