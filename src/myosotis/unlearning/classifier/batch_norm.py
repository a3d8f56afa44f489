"""Batch normalisation during unlearning."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

BatchNormPolicy = Literal["train", "freeze"]


def set_modes(model: nn.Module, policy: BatchNormPolicy) -> None:
    """Put a model into the mode that it unlearns in: evaluation, but for batch normalisation under ``"train"``.

    Args:
        model: Model, changed in place.
        policy: ``"train"`` normalises by the statistics of each batch and updates the running ones, but see
            :func:`single_values_by_running_statistics`; ``"freeze"`` uses the running ones and leaves them bit for
            bit. Dropout and the like are off in either case.
    """
    model.eval()
    if policy == "train":
        for module in batch_norms(model):
            module.train()


def batch_norms(model: nn.Module) -> Iterator[nn.Module]:
    """Return the modules that normalise by batch statistics."""
    return (module for module in model.modules() if isinstance(module, _BatchNorm))


@contextmanager
def single_values_by_running_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, a batch normalisation that sees one value per channel uses its running statistics for that batch.

    One image has a variance where a map has several pixels, but none in maps of 1x1 pixels, as those that a deep
    network makes of small images: there torch refuses to normalise by the batch.
    """

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if module.training and inputs[0].numel() == inputs[0].shape[1]:
            module.eval()
            borrowed.add(module)

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG001
        if module in borrowed:
            borrowed.discard(module)
            module.train()

    borrowed: set[nn.Module] = set()
    handles = []
    for module in batch_norms(model):
        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module in borrowed:
            module.train()


def running_statistics(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Return copies of the running mean and variance of each batch normalisation."""
    return [
        (module.running_mean.detach().clone(), module.running_var.detach().clone())
        for module in batch_norms(model)
        if isinstance(module.running_mean, Tensor) and isinstance(module.running_var, Tensor)
    ]


def drift(before: list[tuple[Tensor, Tensor]], after: list[tuple[Tensor, Tensor]]) -> float | None:
    """Return the mean over layers and channels of |change of the running mean| in units of the old standard deviation.

    None for a model without batch normalisation.
    """
    if not before:
        return None
    changes = [
        ((mean - old).abs() / (variance + 1e-5).sqrt()).flatten()
        for (old, variance), (mean, _) in zip(before, after, strict=True)
    ]
    return torch.cat(changes).mean().item()
