"""The unit of work: a job on images that its hash is of."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.data.images import ImageSet
from myosotis.data.sets import content_hash
from myosotis.data.shared_sets import SharedSets, can_share
from myosotis.engine.errors import InputError
from myosotis.protocol import units
from myosotis.protocol.units import (
    forget_streams,
    handing_over,
    receive_streams,
    run_unit,
    stream_digests,
    stream_sets,
    unit_inputs,
)


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
    content = {"job": given.model_dump(mode="json"), "inputs": unit_inputs(given)}
    assert run_unit(json.dumps(content))["failure"] is None
    np.savez(tmp_path / "test.npz", images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4))
    forget_streams()  # as a worker that begins now
    with pytest.raises(InputError, match=r"train.npz: test images changed during the search"):
        run_unit(json.dumps(content))


@pytest.mark.skipif(not can_share(), reason="this system has no such memory")
def test_a_worker_that_was_handed_the_images_reads_no_file(tmp_path):
    given = job(tmp_path)
    data = given.data.model_dump_json()
    forget_streams()
    content = json.dumps({"job": given.model_dump(mode="json"), "inputs": unit_inputs(given)})
    read = run_unit(content)
    setup = handing_over([data, data])
    for name in ("train", "test"):
        (tmp_path / f"{name}.npz").unlink()
    forget_streams()  # as a worker that begins now
    setup()
    assert run_unit(content)["matrix"] == read["matrix"]
    other = json.dumps({**json.loads(content), "inputs": {**unit_inputs(given), "train images": "0" * 64}})
    with pytest.raises(InputError, match="train images changed during the search"):
        run_unit(other)
    forget_streams()  # as a driver that begins another search
    with pytest.raises(InputError, match="train.npz"):
        run_unit(content)


def test_streams_that_are_too_large_are_read_by_each_worker(tmp_path, monkeypatch):
    data = job(tmp_path).data.model_dump_json()
    forget_streams()
    size = sum(images.images.numel() for images in stream_sets(data))
    monkeypatch.setattr(units, "_MAX_SHARED", size - 1)
    assert handing_over([data]) is None
    monkeypatch.setattr(units, "_MAX_SHARED", size)
    assert (handing_over([data]) is not None) == can_share()
    monkeypatch.setattr(units, "can_share", lambda: False)
    assert handing_over([data]) is None


@pytest.mark.skipif(not can_share(), reason="this system has no such memory")
def test_each_stream_has_its_own_images_and_hash(tmp_path):
    streams = []
    for number in range(2):
        place = tmp_path / str(number)
        place.mkdir()
        streams.append(job(place).data.model_copy(update={"only": (("0", "1"), ("2", "3"))[number]}).model_dump_json())
    forget_streams()
    hashes = {data: stream_digests(data) for data in streams}
    sets = [images for data in streams for images in stream_sets(data)]
    receive_streams(SharedSets(sets), hashes)
    for data, one in zip(streams, (sets[:2], sets[2:]), strict=True):
        assert stream_digests(data) == hashes[data]
        assert [images.names for images in stream_sets(data)] == [images.names for images in one]
    forget_streams()


@pytest.mark.processes
@pytest.mark.skipif(not can_share(), reason="this system has no such memory")
def test_processes_that_are_started_receive_streams_of_any_size():
    """Names alone are more than a pipe holds."""
    images = torch.arange(30_000).remainder(251).to(torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    labels = torch.arange(30_000) % 2
    given = ImageSet(images.contiguous(), labels, tuple(f"image {n:05d}" for n in range(30_000)), ("x", "y"))
    shared = SharedSets([given, given.subset(range(9))])
    for _ in range(2):  # the second time as after a process was killed
        arguments = (shared, {"stream": "hash"})
        with ProcessPoolExecutor(2, get_context("spawn"), initializer=receive_streams, initargs=arguments) as pool:
            found = [pool.submit(stream_sets, "stream") for _ in range(2)]
            for future in found:
                assert [content_hash(one) for one in future.result()] == [content_hash(one) for one in shared.sets()]


def test_a_unit_that_fails_has_scores_of_0(tmp_path):
    given = job(tmp_path, learning_rate=1e25, schedule="constant")
    forget_streams()
    content = {"job": given.model_dump(mode="json"), "inputs": unit_inputs(given)}
    found = run_unit(json.dumps(content))
    assert found["failure"] == {"kind": "diverged", "reason": "training diverged in task 1; lower the learning rate"}
    assert set(found["metrics"].values()) == {0.0}


def test_results_belong_to_job_images_and_version(unit, monkeypatch):
    """A storage that studies share gave the results of other images, and of earlier versions, as new ones."""
    known = unit().key
    assert unit().key == known
    assert unit(inputs={"train images": "others"}).key != known
    assert unit(inputs={"train images": "these", "weights": "some"}).key != known
    assert unit(job='{"seed": 1}').key != known
    monkeypatch.setattr("myosotis.__version__", "0.0.0")
    assert unit().key != known
