"""The unit of work: a job on images that its hash is of."""

import json

import numpy as np
import pytest

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.engine.errors import InputError
from myosotis.protocol.units import forget_streams, run_unit, stream_hash


def job(place, **training):
    stream = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 8)
    for name in ("train", "test"):
        images = stream.integers(0, 255, (len(labels), 8, 8)).astype(np.uint8)
        np.savez(place / f"{name}.npz", images=images, labels=labels)
    return ClassLearningConfig.model_validate(
        {
            "name": "unit",
            "data": {name: {"arrays": str(place / f"{name}.npz")} for name in ("train", "test")},
            "scenario": {"first": 2, "per_task": 2},
            "model": {"options": {"widths": [4], "blocks": [1], "stem_stride": 2}},
            "method": "er",
            "memory": {"total": 8},
            "training": {"epochs": 1, "batch_size": 8, **training},
        }
    )


def test_a_worker_checks_that_its_images_are_those_of_the_search(tmp_path):
    """Results of images that changed during a search would be kept as those of the old ones."""
    given = job(tmp_path)
    content = {"job": given.model_dump(mode="json"), "data": stream_hash(given.data.model_dump_json())}
    assert run_unit(json.dumps(content))["failure"] is None
    np.savez(tmp_path / "test.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4))
    forget_streams()  # as a worker that begins now
    with pytest.raises(InputError, match=r"train.npz: images of the stream changed during the search"):
        run_unit(json.dumps(content))


def test_a_unit_that_fails_has_scores_of_0(tmp_path):
    given = job(tmp_path, learning_rate=1e25, schedule="constant")
    forget_streams()
    content = {"job": given.model_dump(mode="json"), "data": stream_hash(given.data.model_dump_json())}
    found = run_unit(json.dumps(content))
    assert found["failure"] == {"kind": "diverged", "reason": "training diverged in task 1; lower the learning rate"}
    assert set(found["metrics"].values()) == {0.0}


def test_results_belong_to_job_images_and_version(unit, monkeypatch):
    """A storage that studies share gave the results of other images, and of earlier versions, as new ones."""
    known = unit().key
    assert unit().key == known
    assert unit(data="other images").key != known
    assert unit(job='{"seed": 1}').key != known
    monkeypatch.setattr("myosotis.__version__", "0.0.0")
    assert unit().key != known
