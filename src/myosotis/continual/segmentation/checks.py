"""Checks that method, stream, memory and training of a job fit together."""

from typing import Any

from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.scenario import SegmentationStream
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import share


def check_segmentation(
    learner: SegmentationLearner[Any],
    stream: SegmentationStream,
    memory: SegmentationMemory,
    settings: SegmentationSettings,
) -> None:
    """Raise ``SettingsError`` unless method, stream, memory and training go together."""
    name = learner.card.name
    if len(memory):
        raise SettingsError("the memory must be empty at the start")
    if learner.reads_memory and not memory.total:
        raise SettingsError(f"method '{name}' needs a 'memory'")
    if memory.total and not learner.reads_memory:
        raise SettingsError(f"method '{name}' reads no exemplars: leave 'memory' out")
    if len(set(stream.train.sizes)) > 1 and settings.crop is None:
        raise SettingsError("training images differ in size: give 'training.crop', or a 'size' of the data")
    if settings.scale is not None and settings.crop is None:
        raise SettingsError("'training.scale' needs 'training.crop'")
    world = share()[1]
    halves = 2 if learner.reads_memory else 1
    if settings.batch_size % (world * halves):
        reason = "half of the samples of each process are remembered" if halves == 2 else "one share per process"
        raise SettingsError(
            f"'training.batch_size' is {settings.batch_size}, expected a multiple of {world * halves}: {reason}"
        )
