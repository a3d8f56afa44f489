"""Normalisation for streams of tasks: task-balanced batch normalisation and what it is compared with."""

from myosotis.continual.classification.norm.continual import ContinualNorm2d, convert_continual, convert_group
from myosotis.continual.classification.norm.convert import (
    convert_task_balanced,
    revert_task_balanced,
    set_task_balance,
    task_balance,
)
from myosotis.continual.classification.norm.layers import (
    TaskBalancedBatchNorm1d,
    TaskBalancedBatchNorm2d,
    TaskBalancedBatchNorm3d,
)
from myosotis.continual.classification.norm.partition import Partition, reshape_factor

__all__ = [
    "ContinualNorm2d",
    "Partition",
    "TaskBalancedBatchNorm1d",
    "TaskBalancedBatchNorm2d",
    "TaskBalancedBatchNorm3d",
    "convert_continual",
    "convert_group",
    "convert_task_balanced",
    "reshape_factor",
    "revert_task_balanced",
    "set_task_balance",
    "task_balance",
]
