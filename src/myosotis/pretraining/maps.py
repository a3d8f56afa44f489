"""The last feature map of a network of timm, whatever its layout."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from myosotis.engine.errors import SettingsError


def last_map(
    network: nn.Module, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch features rows columns"]:
    """Return the features before pooling, channels first, prefix tokens left out.

    Raises:
        SettingsError: The network returns no feature map.
    """
    inner: Any = network
    x: Tensor = inner.forward_features(images)
    if x.ndim == 3:
        rows, columns = inner.patch_embed.grid_size
        return x[:, inner.num_prefix_tokens :].transpose(1, 2).reshape(len(x), -1, rows, columns)
    if x.ndim != 4:
        raise SettingsError(f"{type(network).__name__} returns no feature map")
    return x.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else x
