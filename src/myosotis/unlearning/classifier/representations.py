"""How much a network's representations changed, layer by layer."""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from myosotis.data.images import ImageSet
from myosotis.evaluation.cka import layer_cka, linear_cka

_MAX_LAYERS = 10


def main_layers(network: nn.Module, prefix: str = "", most: int = _MAX_LAYERS) -> list[str]:
    """Return the names of the main parts of a network in their order: children, and the children of containers.

    Args:
        network: Network whose modules are in the order in which they are called.
        prefix: Prefix of the names.
        most: Largest number of parts; of more, evenly spaced ones are taken, with the first and the last.

    Example:
        >>> main_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "net.")
        ['net.0', 'net.2']
    """
    layers: list[str] = []
    for name, child in network.named_children():
        inner = list(child.named_children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if len(inner) > 1 and name != "stem":
            layers += [f"{prefix}{name}.{part}" for part, _ in inner]
        elif isinstance(child, nn.ModuleList):
            # A list is never called itself.
            layers += [f"{prefix}{name}.{part}" for part, _ in inner]
        elif any(True for _ in child.parameters()):
            layers.append(f"{prefix}{name}")
    if len(layers) <= most:
        return layers
    return [layers[round(index * (len(layers) - 1) / (most - 1))] for index in range(most)]


def layer_similarity(
    original: nn.Module,
    model: nn.Module,
    layers: Sequence[str],
    sets: Mapping[str, ImageSet],
    count: int,
    seed: int,
) -> dict[str, dict[str, float | None]]:
    """Return the linear CKA of layers of two models, for each set.

    Args:
        original: The model before.
        model: The model after.
        layers: Names of the layers, as :func:`main_layers` returns them.
        sets: Images by name; sets of a single image are left out.
        count: Largest number of images per set, drawn by their names.
        seed: Seed of the draw.

    Returns:
        Similarity by set and layer; None for a layer with the same output for every image, as a dead one has.
    """
    device = next(original.parameters()).device
    similarities: dict[str, dict[str, float | None]] = {}
    for name, images in sets.items():
        sample = images.subset(images.shuffled(seed, "cka")[:count])
        if len(sample) > 1:
            values = layer_cka(original, model, sample.pixels(device), layers, _similarity)
            similarities[name] = {layer: None if math.isnan(value) else value for layer, value in values.items()}
    return similarities


def _similarity(first: Tensor, second: Tensor) -> float:
    try:
        return linear_cka(first, second)
    except ValueError:
        return math.nan
