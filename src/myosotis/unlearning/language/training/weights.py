"""The trained weights of a model: by name, copied to the CPU, put back, and their change negated."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def trained_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the trained weights on the CPU, by name."""
    return {name: parameter.detach().to("cpu", copy=True) for name, parameter in trained_weights(model).items()}


@torch.no_grad()
def set_weights(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Set the trained weights to values such as :func:`copy_weights` returns, in place."""
    for name, parameter in trained_weights(model).items():
        parameter.copy_(values[name])


class Negation:
    r"""Turns the change of the weights round: $\theta_0 - \alpha(\theta - \theta_0)$.

    Args:
        model: The model before training, whose trained weights are copied.
        scale: alpha, > 0.

    Raises:
        ValueError: An adapter of the model is trained already.
    """

    def __init__(self, model: nn.Module, scale: float) -> None:
        self._scale = scale
        self._start = copy_weights(model)
        if any(".lora_B." in name and bool(value.any()) for name, value in self._start.items()):
            raise ValueError("the adapter is already trained, so its initial weights are unknown")

    @torch.no_grad()
    def apply(self, model: nn.Module) -> None:
        """Negate the change since the start, in place."""
        for name, parameter in trained_weights(model).items():
            if ".lora_A." in name:
                continue  # the change is B A, with B = 0 at the start: negating B negates it
            start = self._start[name].to(parameter)
            parameter.copy_(start - self._scale * (parameter - start))
