"""Checks that method, stream, memory and training of a job fit together."""

from typing import Any

import torch

from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.norm.layers import TaskBalancedBatchNorm
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share


def check_fit(learner: Learner[Any], scenario: Scenario, memory: ExemplarMemory, settings: TrainSettings) -> None:
    """Raise ``SettingsError`` unless method, stream, memory and training go together."""
    name, classes = learner.card.name, len(scenario.classes)
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if scenario.kind != "class":
        raise SettingsError(f"the stream is {scenario.kind}-incremental, expected a class-incremental one")
    if any(not len(task.test) for task in scenario):
        raise SettingsError("every task needs test samples")
    if learner.needs_memory and memory.is_none:
        raise SettingsError(f"method '{name}' needs an exemplar memory")
    if not memory.is_none and learner.least_exemplars:
        if memory.selection == "reservoir":
            raise SettingsError(f"method '{name}' needs exemplars of every class, which 'reservoir' does not guarantee")
        if memory.quota(classes) < learner.least_exemplars:
            raise SettingsError(
                f"method '{name}' needs {learner.least_exemplars} exemplars of each of {classes} classes"
            )
        counts = torch.cat([scenario.train.labels[task.train.indices] for task in scenario]).bincount(minlength=classes)
        if int(counts.min()) < learner.least_exemplars:
            raise SettingsError(
                f"method '{name}' needs {learner.least_exemplars} training samples of each class, "
                f"'{scenario.classes[int(counts.argmin())]}' has {int(counts.min())}"
            )
    if learner.own_memory:
        if memory.total is None:
            raise SettingsError(f"method '{name}' fills a single memory for all classes: give its 'total'")
        if settings.memory_batch_size is None:
            raise SettingsError(
                f"method '{name}' needs 'memory_batch_size', the number of remembered samples in a batch"
            )
        if share()[1] > 1:
            raise SettingsError(f"method '{name}' fills its memory at every step, which several processes cannot share")
    elif not memory.is_none:
        memory.quota(classes)
    if settings.memory_batch_size is not None and not 0 < settings.memory_batch_size < settings.batch_size:
        raise SettingsError(
            f"memory_batch_size must be between 1 and {settings.batch_size - 1}, got {settings.memory_batch_size}"
        )
    world = share()[1]
    for key, count in (("batch_size", settings.batch_size), ("memory_batch_size", settings.memory_batch_size or 0)):
        if count % world:
            raise SettingsError(f"{key} is {count}, not a multiple of {world} processes")
    balances = any(isinstance(layer, TaskBalancedBatchNorm) for layer in learner.net.modules())
    if balances and settings.memory_batch_size is None:
        raise SettingsError(
            "task-balanced normalisation needs 'memory_batch_size', the number of remembered samples in a batch"
        )
