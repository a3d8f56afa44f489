"""How much a network's representations changed, layer by layer."""

import math
from collections.abc import Mapping

from torch import Tensor, nn

from myosotis.data.images import ImageSet
from myosotis.evaluation.cka import layer_cka, linear_cka

_MOST_LAYERS = 10


def main_layers(network: nn.Module, prefix: str = "", most: int = _MOST_LAYERS) -> list[str]:
    """Return the names of the main parts of a network in their order: children, and those of containers in their place.

    Args:
        network: Its modules must be in the order in which they are called.
        prefix: Of the names.
        most: Of more parts so many are taken, evenly, the first and the last among them.

    Example:
        >>> main_layers(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), "net.")
        ['net.0', 'net.2']
    """
    found: list[str] = []
    for name, child in network.named_children():
        inner = list(child.named_children()) if isinstance(child, nn.ModuleList | nn.Sequential) else []
        if len(inner) > 1 and name != "stem":
            found += [f"{prefix}{name}.{part}" for part, _ in inner]
        elif isinstance(child, nn.ModuleList):
            # A list is never called itself.
            found += [f"{prefix}{name}.{part}" for part, _ in inner]
        elif any(True for _ in child.parameters()):
            found.append(f"{prefix}{name}")
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]


def layer_similarity(
    original: nn.Module, model: nn.Module, sets: Mapping[str, ImageSet], count: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Return the linear CKA of each main layer of two classifiers behind a normalisation, for each set.

    Args:
        original: The model before.
        model: The model after.
        sets: Images by name; sets of a single image are left out.
        count: At most so many of each, drawn by their names.
        seed: Of the draw.

    Returns:
        By set and layer; None for a layer that gives the same for every image, as a dead one does.
    """
    network = original.get_submodule("classifier")
    layers, place = main_layers(network, "classifier."), next(original.parameters()).device
    found: dict[str, dict[str, float | None]] = {}
    for name, images in sets.items():
        some = images.subset(images.shuffled(seed, "cka")[:count])
        if len(some) > 1:
            values = layer_cka(original, model, some.pixels(place), layers, _similarity)
            found[name] = {layer: None if math.isnan(value) else value for layer, value in values.items()}
    return found


def _similarity(one: Tensor, other: Tensor) -> float:
    try:
        return linear_cka(one, other)
    except ValueError:
        return math.nan
