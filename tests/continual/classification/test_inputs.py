"""From the configuration of a job to its stream."""

import pytest
import torch

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.inputs import make_scenario
from myosotis.data.images import ImageSet


def images(count, prefix):
    pixels = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    return ImageSet(pixels, torch.arange(count) % 4, tuple(f"{prefix}{n:03d}" for n in range(count)), tuple("abcd"))


@pytest.mark.parametrize("seed", [1, 2])
def test_all_seeds_are_measured_on_the_same_test_images(seed):
    """They used to be drawn by the seed, so that the spread over seeds held that of the test images."""

    def scenario(drawn):
        config = ClassLearningConfig(
            name="x",
            seed=drawn,
            data={"train": {"folder": "a"}, "test": {"folder": "b"}, "limit": 40, "test_limit": 12},
            scenario={"first": 2, "per_task": 2, "class_order": "as_listed"},
        )
        return make_scenario(config, images(80, "r"), images(40, "t"))

    assert scenario(seed).test.names == scenario(0).test.names
    assert scenario(seed).train.names != scenario(0).train.names
