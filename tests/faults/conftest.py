"""The campaigns of `benchmarks/faults.py`, with a world and uninterrupted runs that all tests share."""

import os
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def faults(file_module):
    module = file_module(BENCHMARKS / "faults.py")
    module.import_everything()
    return module


@pytest.fixture(scope="session")
def files(faults):
    return sys.modules[faults.corruption.__module__]


@pytest.fixture(scope="session")
def processes(faults):
    return sys.modules[faults.ranks.__module__]


@pytest.fixture(scope="session")
def campaigns(faults, tmp_path_factory):
    before = dict(os.environ)
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    yield faults.Campaigns(tmp_path_factory.mktemp("faults"))
    os.environ.clear()
    os.environ |= before
