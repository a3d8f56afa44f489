"""Protocols, results and units made by hand."""

import pytest

from myosotis.protocol.config import ProtocolConfig
from myosotis.protocol.units import Unit

DATA = {"train": {"folder": "a"}, "test": {"folder": "b"}}


def _protocol(**options):
    content = {
        "name": "p",
        "shared": {"scenario": {"first": 2, "per_task": 2}},
        "tuning": DATA,
        "evaluation": {"train": {"folder": "c"}, "test": {"folder": "d"}},
        "methods": ["er"],
        **options,
    }
    return ProtocolConfig.model_validate(content)


def _results(scores):
    return {
        (trial, seed): {"metrics": {"final_accuracy": one, "first_task_accuracy": 1 - one}, "failure": None}
        for trial, row in enumerate(scores)
        for seed, one in enumerate(row)
    }


def _unit(seed=0, job="{}", inputs=None):
    settings = {"training.epochs": 3, "training.schedule": "step"}
    return Unit("tuning", "er", 0, settings, seed, job, inputs or {"train images": "these"})


@pytest.fixture(scope="session")
def protocol():
    return _protocol


@pytest.fixture(scope="session")
def results():
    return _results


@pytest.fixture(scope="session")
def unit():
    return _unit
