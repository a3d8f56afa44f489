"""Linear layers of 4 bits, as bitsandbytes stores them: their shapes, and their weights as they act."""

import json
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

Quantization = Literal["nf4"]
"""Types of 4-bit weights: ``nf4``, the 16 quantiles of a normal distribution, scaled per block of 64 weights."""


def is_four_bit(layer: Any) -> bool:
    """Whether the weight of a layer is packed into 4 bits."""
    return getattr(getattr(layer, "weight", None), "quant_state", None) is not None


def linear_shape(layer: Any) -> tuple[int, int]:
    """Return the shape of a linear layer's weight as the layer applies it, packed or not.

    Example:
        >>> linear_shape(nn.Linear(3, 2))
        (2, 3)
    """
    rows, columns = layer.weight.quant_state.shape if is_four_bit(layer) else layer.weight.shape
    return int(rows), int(columns)


def whole_weight(layer: Any) -> Tensor:
    """Return the weight of a linear layer as the layer applies it: dequantised if it is packed, else itself."""
    if not is_four_bit(layer):
        weight: Tensor = layer.weight
        return weight
    from bitsandbytes.functional import dequantize_4bit

    dequantized: Tensor = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    return dequantized


def stored_quantization(directory: Path) -> dict[str, Any] | None:
    """Return the quantisation that the ``config.json`` of a model directory names; None without one."""
    try:
        content = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # said by what loads it
    settings = content.get("quantization_config") if isinstance(content, dict) else None
    return settings if isinstance(settings, dict) else None


def misread_layer(model: nn.Module) -> str | None:
    """Return the name of a 4-bit layer that bitsandbytes would unpack wrongly; None where there is none.

    Its kernel for CPUs counts blocks anew in every row, which is right only where rows consist of whole blocks. (Seen
    in 0.50: a layer of 48 x 48 then has an error of 40 % instead of 9 %.)
    """
    layers: dict[str, Any] = dict(model.named_modules())
    for name, layer in layers.items():
        on_cpu = is_four_bit(layer) and layer.weight.device.type == "cpu"
        if on_cpu and linear_shape(layer)[1] % layer.weight.quant_state.blocksize:
            return name
    return None


def keep_differentiable(model: nn.Module) -> None:
    """Keep the 4-bit layers of a model in the format that can be differentiated, on every processor.

    On processors with AVX-512 BF16, bitsandbytes repacks a layer at its first pass in evaluation mode: into a format
    that has no backward pass and computes in bfloat16.
    """
    modules: list[Any] = list(model.modules())
    for module in modules:
        if is_four_bit(module) and hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
