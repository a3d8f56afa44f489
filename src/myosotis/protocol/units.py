"""The unit of work: one method, one configuration and one seed on one stream; its result depends on nothing else."""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import myosotis
from myosotis.continual.classification.config import ClassLearningConfig, StreamConfig
from myosotis.continual.classification.inputs import (
    describe_learner,
    job_inputs,
    make_job_learner,
    make_memory,
    make_scenario,
)
from myosotis.continual.classification.outcome import figures
from myosotis.continual.classification.training import Learned, learn_classes
from myosotis.continual.scenario import Scenario
from myosotis.data.images import ImageSet
from myosotis.data.sets import DataConfig, input_fingerprints, read_sets
from myosotis.data.shared_sets import SharedSets, can_share
from myosotis.engine.config import local_paths
from myosotis.engine.errors import InputError
from myosotis.engine.failures import attempt
from myosotis.engine.run import changed_inputs

Phase = Literal["tuning", "evaluation", "conventional"]


@dataclass(frozen=True)
class Unit:
    """One run.

    Attributes:
        phase: ``"tuning"``, ``"evaluation"`` of a frozen choice, or ``"conventional"``: a trial where it is evaluated.
        method: Name of the method.
        trial: Number k of the draw.
        drawn: The settings of the trial.
        seed: Seed of the run.
        job: A :class:`~myosotis.continual.classification.config.ClassLearningConfig` as JSON.
        inputs: Digests by name of what the job reads, see :func:`unit_inputs`.
    """

    phase: Phase
    method: str
    trial: int
    drawn: dict[str, Any]
    seed: int
    job: str
    inputs: Mapping[str, str]

    @property
    def config(self) -> str:
        """The job and the digests of its inputs, as JSON; see :func:`run_unit`."""
        return json.dumps({"job": json.loads(self.job), "inputs": dict(self.inputs)})

    @cached_property
    def key(self) -> str:
        """Key of the result: equal jobs on equal inputs by the same version of the package share it."""
        return hashlib.sha256(f"{myosotis.__version__} {self.config}".encode("utf-8", "surrogatepass")).hexdigest()


def run_unit(config: str, device: str = "cpu") -> dict[str, Any]:
    """Carry out one job in memory and return its figures, ready for JSON.

    A run that diverges or fails is a result too, see :func:`~myosotis.engine.failures.attempt`: its scores are 0, and
    ``failure`` says why.

    Args:
        config: ``{"job": ..., "inputs": ...}``: a job, and :func:`unit_inputs` of it.
        device: Device of the network.

    Raises:
        InputError: Something that the job reads is missing, or has changed.
        OutOfMemoryError: The job does not fit the memory; the scheduler decides what becomes of it.
    """
    content = json.loads(config)
    job = ClassLearningConfig.model_validate(content["job"])
    data = job.data.model_dump_json()
    changed = changed_inputs(content["inputs"], unit_inputs(job))
    if changed:
        where = "".join(f"{path}: " for path in local_paths(job.model if changed == ["weights"] else job.data)[:1])
        raise InputError(f"{where}{', '.join(changed)} changed during the search")
    scenario = _scenario(data, job.scenario.model_dump_json(), job.seed)
    started = time.perf_counter()
    learned, failure = attempt(lambda: _learned(job, scenario, device))
    seconds = time.perf_counter() - started
    if learned is None:
        zero = ("average_incremental_accuracy", "final_accuracy", "first_task_accuracy")
        cost = {"seconds": seconds, "steps": 0, "images": 0}
        return {"metrics": dict.fromkeys(zero, 0.0), "matrix": None, "failure": failure, "cost": cost}
    records = learned.records
    image = scenario.train.images[0].numel()
    return {
        "metrics": {**figures(learned), "first_task_accuracy": records[0].accuracy[0]},
        "matrix": [record.accuracy for record in records],
        "failure": None,
        "cost": {
            "seconds": seconds,
            "steps": sum(record.steps for record in records),
            "images": sum(record.images for record in records),
            "parameters_training": max(record.parameters["training"] for record in records),
            "parameters_inference": records[-1].parameters["inference"],
            "exemplar_bytes": records[-1].exemplars * image,
        },
    }


def unit_inputs(job: ClassLearningConfig) -> dict[str, str]:
    """Return digests by name of everything that a job reads, unsalted.

    Raises:
        InputError: Something is missing.
    """
    return job_inputs(stream_digests(job.data.model_dump_json()), job.model.architecture, job.model.source)


def _learned(job: ClassLearningConfig, scenario: Scenario, device: str) -> Learned:
    learner = make_job_learner(job, describe_learner(job, scenario), job.model.source)
    return learn_classes(learner, scenario, make_memory(job), job.training, seed=job.seed, device=device)


_MAX_SHARED = 2**30  # bytes; larger streams are read by each process, so that they are not in memory once more
_received: dict[str, tuple[tuple[ImageSet, ImageSet], dict[str, str]]] = {}  # images and digests by the stream


def receive_streams(shared: SharedSets, digests: Mapping[str, dict[str, str]]) -> None:
    """Take the images of streams from another process instead of reading them.

    Args:
        shared: Training and test images of each stream, one after the other.
        digests: :func:`stream_digests` of each stream by its :class:`~myosotis.data.sets.DataConfig` as JSON.
    """
    forget_streams()
    sets = shared.sets()
    pairs = zip(sets[::2], sets[1::2], strict=True)
    _received.update({data: (pair, digests[data]) for data, pair in zip(digests, pairs, strict=True)})


def handing_over(streams: Iterable[str]) -> Callable[[], None] | None:
    """Return what gives streams to a new process of this machine; None where they are too large, or it is no Linux.

    Args:
        streams: Streams whose images have been read, each a :class:`~myosotis.data.sets.DataConfig` as JSON.
    """
    digests = {data: stream_digests(data) for data in streams}
    sets = [images for data in digests for images in stream_sets(data)]
    if not can_share() or sum(images.images.numel() for images in sets) > _MAX_SHARED:
        return None
    return partial(receive_streams, SharedSets(sets), digests)


@lru_cache(maxsize=4)
def stream_sets(data: str) -> tuple[ImageSet, ImageSet]:
    """Return the images of a stream: those of :func:`receive_streams`, or read once.

    Args:
        data: A :class:`~myosotis.data.sets.DataConfig` as JSON.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    return _received[data][0] if data in _received else read_sets(DataConfig(**json.loads(data)))


@lru_cache(maxsize=4)
def stream_digests(data: str) -> dict[str, str]:
    """Return the digests of the images of a stream: names, classes, pixels and labels, unsalted.

    Args:
        data: A :class:`~myosotis.data.sets.DataConfig` as JSON.
    """
    if data in _received:
        return _received[data][1]
    train, test = stream_sets(data)
    return input_fingerprints({"train": train, "test": test}, "")


def forget_streams() -> None:
    """Drop all images that were read or received: files may have changed."""
    _received.clear()
    stream_sets.cache_clear()
    stream_digests.cache_clear()
    _scenario.cache_clear()


@lru_cache(maxsize=16)
def _scenario(data: str, stream: str, seed: int) -> Scenario:
    """Trials of a seed share their stream, which learning does not change."""
    job = ClassLearningConfig(
        name="unit", seed=seed, data=DataConfig(**json.loads(data)), scenario=StreamConfig(**json.loads(stream))
    )
    return make_scenario(job, *stream_sets(data))
