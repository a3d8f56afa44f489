"""Every example is a configuration that its job takes."""

from pathlib import Path

import pytest

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.segmentation.config import SegmentLearningConfig
from myosotis.continual.selfsupervised.config import RepresentationConfig
from myosotis.denoising.config import DenoiserTrainConfig
from myosotis.engine.config import load_config
from myosotis.pretraining.config import PretrainConfig
from myosotis.protocol.config import ProtocolConfig
from myosotis.protocol.sweep.config import SweepConfig
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
JOBS = sorted([*EXAMPLES.glob("*.yaml"), *EXAMPLES.glob("benchmarks/*.yaml")])


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_an_example_is_valid(path):
    kinds = {
        "forget": ClassifierUnlearningConfig,
        "learn": ClassLearningConfig,
        "protocol": ProtocolConfig,
        "segment": SegmentLearningConfig,
        "represent": RepresentationConfig,
        "pretrain": PretrainConfig,
        "sweep": SweepConfig,
        "denoise": DenoiserTrainConfig,
    }
    schema = kinds.get(path.stem.partition("-")[0], LanguageUnlearningConfig)
    assert load_config(path, schema).name
