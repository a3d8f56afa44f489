"""The trained weights of a model: by name, copied to the CPU, put back, and their change negated.

Under FSDP a process holds a shard of every weight. Copies are then copies of shards: all processes together hold one
copy of the weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; under FSDP they are distributed tensors."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()  # a forward pass without a backward one leaves some modules whole
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _shard(value: Tensor) -> Tensor:
    """This process's part of a tensor, which shares its memory."""
    return value.to_local() if isinstance(value, DTensor) else value


@torch.no_grad()
def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the trained weights on the CPU, by name; under FSDP of this process's shards."""
    return {name: _shard(parameter).detach().to("cpu", copy=True) for name, parameter in trained_weights(model).items()}


@torch.no_grad()
def set_weights(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set the trained weights to values such as :func:`copy_weights` returns, in place."""
    for name, parameter in trained_weights(model).items():
        _shard(parameter).copy_(values[name])


@torch.no_grad()
def whole_weights(model: nn.Module, shards: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the whole weights on the CPU that the shards of all processes make up; every process must call it.

    Args:
        model: The model; where it is not sharded, neither are its shards.
        shards: This process's shards, as :func:`copy_weights` returns them.
    """
    whole = {}
    for name, parameter in trained_weights(model).items():
        if isinstance(parameter, DTensor):
            whole[name] = _like(parameter, shards[name]).full_tensor().cpu()
        else:
            whole[name] = shards[name]
    return whole


def _like(parameter: DTensor, shard: Tensor) -> DTensor:
    """A distributed tensor of the shape and placement of a parameter."""
    return DTensor.from_local(
        shard.to(parameter.device),
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )


@torch.no_grad()
def shards_of(model: nn.Module, whole: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return this process's shards of whole weights, on the CPU; the reverse of :func:`whole_weights`."""
    shards = {}
    for name, parameter in trained_weights(model).items():
        value = whole[name]
        if isinstance(parameter, DTensor):
            # Every process holds the same value, so nothing is sent.
            value = value.to(parameter.device)
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None).to_local()
        shards[name] = value.to("cpu", copy=True)
    return shards


def check_untrained(model: nn.Module) -> None:
    """Refuse a model whose adapter is trained already, as the start of its change is unknown.

    Raises:
        ValueError: The adapter has an effect.
    """
    if any(".lora_B." in name and bool(value.any()) for name, value in trained_weights(model).items()):
        raise ValueError("the adapter is already trained, so its initial weights are unknown")


class Negation:
    r"""Turns the change of the weights round: $\theta_0 - \alpha(\theta - \theta_0)$.

    Args:
        model: The model before training, whose trained weights are copied; sharded if it is so for :meth:`apply`.
        scale: alpha, > 0.
    """

    def __init__(self, model: nn.Module, scale: float) -> None:
        self._scale = scale
        self._start = copy_weights(model)

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Negate the change since the start, in place."""
        for name, parameter in trained_weights(model).items():
            if ".lora_A." in name:
                continue  # the change is B A, with B = 0 at the start: negating B negates it
            shard = _shard(parameter)
            start = self._start[name].to(shard)
            shard.copy_(start - self._scale * (shard - start))
