"""Weights in half precision: trained as float32 copies, and rounded again afterwards."""

import copy
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import nn
from transformers import TrainingArguments

from myosotis.engine.errors import SettingsError

_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16"}

ArgumentsT = TypeVar("ArgumentsT", bound=TrainingArguments)


def upcast_trained(model: nn.Module, device: torch.device) -> dict[str, torch.dtype]:
    """Turn those trained weights of a model that are in half precision into float32, in place.

    A step of 1e-5 is below the spacing of bfloat16 at most weights, and lost; in float16 the second moments of Adam
    underflow. In float32 a trained weight takes 16 bytes with its gradient and moments, instead of 8.

    Args:
        model: The model; changed in place.
        device: Device of the training.

    Returns:
        The dtype that each of them had, by name.
    """
    half = {name: p for name, p in model.named_parameters() if p.dtype in _NAMES}
    chosen = {name: p for name, p in half.items() if p.requires_grad}
    if device.type == "cpu" and any(p.dtype is torch.float16 for p in chosen.values()):
        chosen = half  # accelerate does not autocast to float16 on CPUs, and layers of two dtypes cannot be mixed
    dtypes = {name: p.dtype for name, p in chosen.items()}
    for parameter in chosen.values():
        parameter.data = parameter.data.float()
    return dtypes


def cast_back(model: nn.Module, dtypes: Mapping[str, torch.dtype]) -> None:
    """Round weights to the dtypes that :func:`upcast_trained` returned, in place."""
    for name, parameter in model.named_parameters():
        if name in dtypes:
            parameter.grad = None
            parameter.data = parameter.data.to(dtypes[name])


def with_autocast(args: ArgumentsT, dtypes: Mapping[str, torch.dtype]) -> ArgumentsT:
    """Return the settings of a training whose passes see the weights rounded to their own dtype.

    Measurements during training then see the weights that remain after :func:`cast_back`. A chosen precision is not
    changed.

    Args:
        args: Settings of the training.
        dtypes: Dtypes of the trained weights that were in half precision.

    Raises:
        SettingsError: The weights have different half precisions.
    """
    if not dtypes or args.mixed_precision != "no":
        return args
    if len(set(dtypes.values())) > 1:
        raise SettingsError("trained weights are partly bfloat16 and partly float16; load the model in one of them")
    own = copy.copy(args)
    own.mixed_precision = _NAMES[next(iter(dtypes.values()))]
    own.bf16, own.fp16 = own.mixed_precision == "bf16", own.mixed_precision == "fp16"
    return own
