"""The same results on a Ray cluster of two workers, which the test starts itself."""

import numpy as np
import pytest

from myosotis.protocol.config import ProtocolConfig, unit_config
from myosotis.protocol.executors import Executor, ExecutorConfig
from myosotis.protocol.units import Unit, run_unit, stream_hash

pytest.importorskip("ray", reason="Ray is not installed")


def units(place, count):
    stream = np.random.default_rng(0)
    patterns = stream.integers(0, 200, (4, 8, 8))
    labels = np.repeat(np.arange(4), 8)
    for name in ("train", "test"):
        images = (patterns[labels] + stream.integers(0, 55, (len(labels), 8, 8))).astype(np.uint8)
        np.savez(place / f"{name}.npz", images=images, labels=labels)
    data = {name: {"arrays": str(place / f"{name}.npz")} for name in ("train", "test")}
    options = {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}
    job = {
        "scenario": {"first": 2, "per_task": 2},
        "model": {"options": options},
        "memory": {"total": 8},
        "training": {"epochs": 1, "batch": 8},
    }
    config = ProtocolConfig.model_validate(
        {"name": "ray", "job": job, "tuning": data, "evaluation": data, "methods": ["er"]}
    )
    jobs = [unit_config(config, config.tuning, "er", {}, seed).model_dump_json() for seed in range(count)]
    images = stream_hash(config.tuning.model_dump_json())
    return [Unit("tuning", "er", 0, {}, seed, job, images) for seed, job in enumerate(jobs)]


@pytest.mark.slow
def test_ray_gives_the_same_results(tmp_path):
    todo = units(tmp_path, 3)
    with Executor(ExecutorConfig(kind="ray", workers=2), "cpu", run_unit) as executor:
        found = {unit.seed: result for unit, result in executor.execute(todo)}
    assert set(found) == {0, 1, 2}
    for unit in todo:
        assert found[unit.seed]["matrix"] == run_unit(unit.config)["matrix"]
