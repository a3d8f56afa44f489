"""Training on shards: FSDP splits a model over the processes while it trains, and it is whole before and after.

References, Fisher information, hashes, audits and exports see whole weights; training holds in each process a part of
them, of their gradients and of the optimiser's state.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import Trainer


@contextmanager
def sharded_training(trainer: Trainer) -> Iterator[None]:
    """Let a trainer shard its model inside; afterwards the same model holds the trained weights, whole, everywhere.

    What is sharded is a twin that takes the weights over, because FSDP changes modules for good. Without FSDP nothing
    is done. After an error inside the model is left without weights.

    Args:
        trainer: A trainer, whose ``model`` is the twin inside.
    """
    if not trainer.accelerator.is_fsdp2:
        yield
        return
    model = trainer.model
    trainer.model = trainer.model_wrapped = twin = _twin(model)
    yield
    _take_back(model, twin)
    trainer.model = trainer.model_wrapped = trainer.callback_handler.model = model
    # They belong to the twin; another training makes new ones.
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.accelerator.free_memory()


def _twin(model: nn.Module) -> nn.Module:
    """A copy of a model that takes its weights over; the model keeps empty ones."""
    memo: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.data, requires_grad=parameter.requires_grad)
    twin = copy.deepcopy(model, memo)
    for parameter in model.parameters():
        parameter.data = parameter.data.new_empty(0)
    return twin


@torch.no_grad()
def _take_back(model: nn.Module, twin: nn.Module) -> None:
    """Gather the weights of a sharded twin into the model, one after another."""
    shards = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        shard = shards[name]
        parameter.data = shard.full_tensor() if isinstance(shard, DTensor) else shard.data
