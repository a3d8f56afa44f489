"""Conversion of batch normalisation to the task-balanced form and back, and the partition of the batches to come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.lazy import LazyModuleMixin

from myosotis.continual.classification.norm.layers import (
    TaskBalancedBatchNorm,
    TaskBalancedBatchNorm1d,
    TaskBalancedBatchNorm2d,
    TaskBalancedBatchNorm3d,
)
from myosotis.continual.classification.norm.partition import DivisorOf, Mode, Partition
from myosotis.engine.errors import SettingsError

_PAIRS: tuple[tuple[type[_BatchNorm], type[TaskBalancedBatchNorm]], ...] = (
    (nn.BatchNorm1d, TaskBalancedBatchNorm1d),
    (nn.BatchNorm2d, TaskBalancedBatchNorm2d),
    (nn.BatchNorm3d, TaskBalancedBatchNorm3d),
)

LayerT = TypeVar("LayerT", bound=_BatchNorm)


def convert_task_balanced(
    module: nn.Module, *, divisor_of: DivisorOf = "both", mode: Mode = "exact", sync: bool = False
) -> nn.Module:
    """Replace every ``nn.BatchNorm`` in a module by the task-balanced form, with the very same parameters and buffers.

    Args:
        module: Module, changed in place unless it is a batch normalisation itself.
        divisor_of: Divisor of the splits, see :class:`TaskBalancedBatchNorm`.
        mode: ``"exact"`` or ``"weighted"`` moments, see :class:`TaskBalancedBatchNorm`.
        sync: Whether the batches of all processes are normalised together; ``nn.SyncBatchNorm`` is then replaced too,
            by the 2d layer. Do not call ``convert_sync_batchnorm`` afterwards: it would replace these by plain layers.

    Returns:
        The module, or its replacement.

    Raises:
        SettingsError: There is an ``nn.SyncBatchNorm`` and ``sync`` is off, a lazy layer that has no size yet, or a
            subclass of ``nn.BatchNorm`` that does more than normalise.
    """
    options: dict[str, Any] = {"divisor_of": divisor_of, "mode": mode, "sync": sync}

    def convert(layer: nn.Module) -> nn.Module:
        if isinstance(layer, TaskBalancedBatchNorm):
            for name, value in options.items():
                setattr(layer, name, value)
            return layer
        if isinstance(layer, nn.SyncBatchNorm):
            if not sync:
                raise SettingsError("the module has nn.SyncBatchNorm; sync=True converts it to a synchronised layer")
            return _exchanged(layer, TaskBalancedBatchNorm2d, options)
        if isinstance(layer, _BatchNorm) and isinstance(layer, LazyModuleMixin):
            raise SettingsError(
                f"{type(layer).__name__} has no size yet; run a batch through the module, then convert it"
            )
        for plain, balanced in _PAIRS:
            if isinstance(layer, plain):
                if type(layer) is not plain:
                    raise SettingsError(
                        f"{type(layer).__name__} extends nn.{plain.__name__}; conversion would lose the extension"
                    )
                return _exchanged(layer, balanced, options)
        return layer

    return replace_layers(module, convert)


def revert_task_balanced(module: nn.Module) -> nn.Module:
    """Undo :func:`convert_task_balanced`: plain batch normalisation with the very same parameters and buffers."""

    def revert(layer: nn.Module) -> nn.Module:
        for plain, balanced in _PAIRS:
            if isinstance(layer, balanced):
                return _exchanged(layer, plain, {})
        return layer

    return replace_layers(module, revert)


def set_task_balance(module: nn.Module, partition: Partition | None) -> int:
    """Set the partition of every later forward pass; None ends it.

    Returns:
        Number of task-balanced layers.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, TaskBalancedBatchNorm)]
    for layer in layers:
        layer.partition = partition
    return len(layers)


@contextmanager
def task_balance(module: nn.Module, *, n_current: int, n_past_tasks: int) -> Iterator[None]:
    """Set the partition of the batches for the task-balanced layers of a module.

    With activation checkpointing the backward pass runs layers again, so it belongs inside too.

    Args:
        module: Module with at least one task-balanced layer.
        n_current: B_c, the number of samples of the current task; they come first.
        n_past_tasks: T, the number of earlier tasks.

    Raises:
        ValueError: There is no such layer: the model was not converted, or ``convert_sync_batchnorm`` undid it.
    """
    if not set_task_balance(module, Partition(n_current, n_past_tasks)):
        raise ValueError("the module has no task-balanced layer; call convert_task_balanced as the last step")
    try:
        yield
    finally:
        set_task_balance(module, None)


def replace_layers(module: nn.Module, change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """Apply ``change`` to all children of a module, then to the module, and return it."""
    for name, child in module.named_children():
        changed = replace_layers(child, change)
        if changed is not child:
            setattr(module, name, changed)
    return change(module)


def _exchanged(layer: _BatchNorm, kind: type[LayerT], options: dict[str, Any]) -> LayerT:
    exchanged = kind(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats, device="meta", **options
    )
    exchanged._parameters.update(layer._parameters)
    exchanged._buffers.update(layer._buffers)
    return exchanged.train(layer.training)
