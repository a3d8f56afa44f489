"""The unit of work: one method, one configuration and one seed on one stream; its result depends on nothing else."""

import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from myosotis.continual.classification.config import ClassLearningConfig, StreamConfig
from myosotis.continual.classification.inputs import (
    describe_learner,
    make_memory,
    make_scenario,
    train_settings,
)
from myosotis.continual.classification.outcome import figures
from myosotis.continual.classification.saved import make_learner
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.scenario import Scenario
from myosotis.data.images import ImageSet
from myosotis.data.sets import DataConfig, read_sets
from myosotis.engine.errors import DivergedError

Phase = Literal["tuning", "evaluation", "conventional"]


@dataclass(frozen=True)
class Unit:
    """One run.

    Attributes:
        phase: ``"tuning"``, ``"evaluation"`` of a frozen choice, or ``"conventional"``: a trial where it is evaluated.
        method: Its name.
        trial: k of the draw.
        drawn: The settings of the trial.
        seed: Of the run.
        config: The whole job, as JSON.
    """

    phase: Phase
    method: str
    trial: int
    drawn: dict[str, Any]
    seed: int
    config: str

    @property
    def key(self) -> str:
        """What a result is kept under: equal jobs are one, whatever asks for them."""
        return hashlib.sha256(self.config.encode()).hexdigest()


def run_unit(config: str, device: str = "cpu") -> dict[str, Any]:
    """Carry out one job in memory and return its figures, ready for JSON.

    A run that diverges is a result too: its scores are 0, and ``failure`` says why.

    Args:
        config: A :class:`~myosotis.continual.classification.config.ClassLearningConfig` as JSON.
        device: Of the network.
    """
    job = ClassLearningConfig.model_validate_json(config)
    scenario = _scenario(job.data.model_dump_json(), job.scenario.model_dump_json(), job.seed)
    learner = make_learner(describe_learner(job, scenario), pretrained=job.model.pretrained)
    started = time.perf_counter()
    try:
        learned = learn_classes(learner, scenario, make_memory(job), train_settings(job), seed=job.seed, device=device)
    except DivergedError as error:
        return _failed(str(error), time.perf_counter() - started)
    seconds = time.perf_counter() - started
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


def _failed(reason: str, seconds: float) -> dict[str, Any]:
    zero = ("average_incremental_accuracy", "final_accuracy", "first_task_accuracy")
    return {
        "metrics": dict.fromkeys(zero, 0.0),
        "matrix": None,
        "failure": reason,
        "cost": {"seconds": seconds, "steps": 0, "images": 0},
    }


@lru_cache(maxsize=4)
def stream_sets(data: str) -> tuple[ImageSet, ImageSet]:
    """Return the images of a stream, of which each worker reads them once.

    Args:
        data: A :class:`~myosotis.data.sets.DataConfig` as JSON.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    return read_sets(DataConfig(**json.loads(data)))


def forget_streams() -> None:
    """Read images anew from now on: files may have changed since."""
    stream_sets.cache_clear()
    _scenario.cache_clear()


@lru_cache(maxsize=16)
def _scenario(data: str, stream: str, seed: int) -> Scenario:
    """Trials of one seed share their stream, of which nothing is changed by learning."""
    job = ClassLearningConfig(
        name="unit", seed=seed, data=DataConfig(**json.loads(data)), scenario=StreamConfig(**json.loads(stream))
    )
    return make_scenario(job, *stream_sets(data))
