"""Every example is a configuration that its job takes."""

from pathlib import Path

import pytest

from myosotis.engine.config import load_config
from myosotis.unlearning.classifier.config import ClassifierUnlearningConfig
from myosotis.unlearning.language.config import LanguageUnlearningConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
JOBS = sorted([*EXAMPLES.glob("*.yaml"), *EXAMPLES.glob("benchmarks/*.yaml")])


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_an_example_is_valid(path):
    schema = ClassifierUnlearningConfig if path.stem.startswith("forget-") else LanguageUnlearningConfig
    assert load_config(path, schema).name
