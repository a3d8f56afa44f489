"""Residuals of 4-bit weights: the packed weight stays, and a low-rank product is subtracted from the layer's output.

Packing the residual again would round it anew and change the model's function; this changes nothing.
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_A, _B, _SCALE = "subtracted_a", "subtracted_b", "subtracted_scale"


def subtract_product(layer: Any, a: Float[Tensor, "rank in"], b: Float[Tensor, "out rank"], scale: float) -> None:
    r"""Let a linear layer compute $W x - s\, B (A x)$ from now on; its stored weight and state dict stay as they are.

    Args:
        layer: The layer; it moves the factors with it.
        a: A; copied.
        b: B; copied.
        scale: s.
    """
    restore_weight(layer)
    layer.register_buffer(_A, a.detach().clone(), persistent=False)
    layer.register_buffer(_B, b.detach().clone(), persistent=False)
    setattr(layer, _SCALE, scale)
    layer._subtracting = layer.register_forward_hook(_subtract)


def subtracted_product(layer: Any) -> Tensor | None:
    """Return s B A, in the orientation of the weight; None where nothing is subtracted."""
    if not hasattr(layer, _A):
        return None
    product: Tensor = getattr(layer, _SCALE) * (getattr(layer, _B) @ getattr(layer, _A))
    return product


def restore_weight(layer: Any) -> None:
    """Let a layer compute with its stored weight alone again."""
    if hasattr(layer, _A):
        layer._subtracting.remove()
        for name in (_A, _B, _SCALE, "_subtracting"):
            delattr(layer, name)


def _subtract(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    # The same operations as in PEFT's layer, so that equal factors cancel but for the rounding of two sums.
    a, b = getattr(layer, _A), getattr(layer, _B)
    product = functional.linear(functional.linear(inputs[0].to(a.dtype), a), b) * getattr(layer, _SCALE)
    residual: Tensor = output - product.to(output.dtype)
    return residual
