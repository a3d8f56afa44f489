"""Which architecture a file of weights is of: told by the shapes of its tensors, in their order."""

import difflib
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from myosotis.engine.errors import InputError
from myosotis.models.weight_files import match_weights, read_weights_file

_VITS = [f"vit_{size}_patch{patch}_224" for size in ("tiny", "small", "base", "large") for patch in (16, 32)]
_FAMILIES: Mapping[str, Sequence[str]] = {
    r"layer1\.0\.(conv|downsample)": (
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet26", "resnet14t", "resnet10t"),
        *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2", "seresnet50", "resnet50d"),
        *("resnet18d", "resnet34d", "resnet26d", "resnet101d"),
    ),
    r"denseblock1\.": ("densenet121", "densenet169", "densenet201", "densenet161"),
    r"attn\.qkv|in_proj_weight": (*_VITS, "swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224"),
    r"dwconv|conv_dw|layer_scale|gamma": (
        *("convnext_atto", "convnext_pico", "convnext_nano", "convnext_tiny", "convnext_small", "convnext_base"),
        *("mobilenetv3_large_100", "mobilenetv3_small_100", "efficientnet_b0", "efficientnet_lite0"),
    ),
    r"block\.\d+\.(fc1|0)|conv_stem|features\.1\.conv|se\.": (
        *(f"efficientnet_b{number}" for number in range(5)),
        *("mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv3_small_100", "tf_efficientnet_lite0"),
        *("efficientnetv2_rw_s", "mnasnet_100", "regnety_008", "regnetx_008"),
    ),
    r"trunk_output|s1\.b1": ("regnety_004", "regnety_008", "regnety_016", "regnetx_004", "regnetx_008", "regnetx_016"),
    r"features\.\d+\.weight": ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"),
}
"""By a name that a tensor of the family has, the architectures to try, in timm's names."""

_NEAREST = 3


@dataclass(frozen=True)
class Recognised:
    """What a file of weights is of.

    Attributes:
        architecture: Its name in timm; None if no architecture that was tried has these shapes.
        nearest: The three that have most shapes in common, where none has all.
        num_classes: Outputs of its last layer.
        in_channels: Channels of the images.
    """

    architecture: str | None
    nearest: tuple[str, ...]
    num_classes: int
    in_channels: int


def recognise(path: Path) -> Recognised:
    """Return which architecture a file of weights of an image classifier is of.

    Networks are built without memory for their weights, the likeliest ones first; nothing is fetched.

    Args:
        path: Safetensors or ``.pth`` file, also a checkpoint of Lightning.

    Raises:
        InputError: The file cannot be read, or is of no image classifier.
    """
    tensors = read_weights_file(path)
    matrices = [value for value in tensors.values() if value.ndim == 2]
    images = next((value for value in tensors.values() if value.ndim == 4), None)
    if not matrices or images is None:
        raise InputError(f"{path}: holds no weights of an image classifier: no convolution, or no layer of outputs")
    num_classes, in_channels = len(matrices[-1]), images.shape[1]
    shapes, shared = Counter(_shapes(tensors)), dict[str, int]()
    for name in _likely(tensors, path):
        network = _built(name, num_classes, in_channels)
        if network is None:
            continue
        if _fits(network, tensors, path):
            return Recognised(name, (), num_classes, in_channels)
        shared[name] = (shapes & Counter(_shapes(network.state_dict()))).total()
    nearest = sorted(shared, key=lambda name: -shared[name])[:_NEAREST]
    return Recognised(None, tuple(nearest), num_classes, in_channels)


def _likely(tensors: Mapping[str, Tensor], path: Path) -> Iterator[str]:
    """Architectures to try: those of the file's name, of families with such tensors, and then of the others."""
    names = "\n".join(tensors)
    families = sorted(_FAMILIES.items(), key=lambda item: re.search(item[0], names) is None)
    every = list(dict.fromkeys(itertools.chain.from_iterable(known for _, known in families)))
    by_name = difflib.get_close_matches(path.stem.lower(), every, n=1, cutoff=0.8)
    return iter(dict.fromkeys([*by_name, *every]))


def _built(name: str, num_classes: int, in_channels: int) -> nn.Module | None:
    import timm  # over a second, which is for those who have such a file

    if not timm.is_model(name):
        return None  # of another version
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=in_channels)
    return network


def _fits(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> bool:
    """Whether every tensor of the network is in the file, and every one of the file in the network."""
    try:
        match = match_weights(network, tensors, path)
    except InputError:
        return False
    own = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    return not match.unused and all(name in match.names for name in own)


def _shapes(tensors: Mapping[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(value.shape) for value in tensors.values() if value.ndim]
