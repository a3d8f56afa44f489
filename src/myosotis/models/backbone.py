"""A network without its head, with the outputs of all its stages, and the memory layout of its convolutions."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.resnet import SmallResNet
from myosotis.models.weight_files import Pretrained

CHANNELS_LAST = frozenset({"small-resnet", "resnet50", "tf_efficientnet_lite0", "mobilenetv3_small_100"})
"""Architectures that are tested, and faster, with channels last on a CPU; those of timm by its names."""

_SAFE_CHANNELS = 16


@dataclass(frozen=True)
class BackboneOutput:
    """Output of a backbone.

    Attributes:
        features: Vectors below the head.
        maps: Outputs of the stages, (n, channels, height, width) each.
    """

    features: Float[Tensor, "n features"]
    maps: tuple[Tensor, ...]


class Backbone(nn.Module):
    """A classifier's body behind its normalisation: takes images in [0, 1].

    Args:
        classifier: A :class:`~myosotis.models.resnet.SmallResNet` or a model of timm, without a head.

    Raises:
        InputError: The architecture does not return the maps of its stages.
    """

    num_features: int

    def __init__(self, classifier: NormalizedClassifier) -> None:
        super().__init__()
        self.normalize = classifier.normalize
        network: Any = classifier.classifier
        self.network = network
        if not isinstance(network, SmallResNet) and not hasattr(network, "forward_intermediates"):
            raise InputError(f"{type(network).__name__} does not return the maps of its stages")
        self.num_features = int(getattr(network, "head_hidden_size", None) or network.num_features)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> BackboneOutput:
        """Return features and maps."""
        x = self.normalize(images)
        if isinstance(self.network, SmallResNet):
            maps = self.network.forward_maps(x)
            return BackboneOutput(maps[-1].mean(dim=(2, 3)), tuple(maps))
        last, maps = self.network.forward_intermediates(x)
        return BackboneOutput(self.network.forward_head(last, pre_logits=True), tuple(maps))


def build_backbone(
    spec: ClassifierSpec, *, seed: int | None = None, pretrained: Pretrained = False, signed: bool = False
) -> Backbone:
    """Return a new backbone.

    Args:
        spec: Description; its ``num_classes`` is ignored.
        seed: Seed of the initial weights; None uses torch's global generator.
        pretrained: See :data:`~myosotis.models.weight_files.Pretrained`.
        signed: Whether the last ReLU is left out, for heads that measure angles. Only the own architectures support
            this; models of timm stay unchanged.

    Raises:
        InputError: The architecture is unknown or does not fit.

    Example:
        >>> spec = ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.5,), {"widths": [4, 8], "blocks": [1, 1]})
        >>> output = build_backbone(spec, seed=0)(torch.rand(2, 1, 28, 28))
        >>> output.features.shape, [tuple(stage.shape) for stage in output.maps]
        (torch.Size([2, 8]), [(2, 4, 28, 28), (2, 8, 14, 14)])
    """
    options = dict(spec.options)
    if signed and spec.architecture == "small-resnet":
        options["last_relu"] = False
    return Backbone(build_classifier(replace(spec, num_classes=0, options=options), seed=seed, pretrained=pretrained))


def as_classifier(
    backbone: Backbone, spec: ClassifierSpec, weight: Float[Tensor, "classes features"], bias: Float[Tensor, " classes"]
) -> tuple[NormalizedClassifier, ClassifierSpec] | None:
    """Return a plain classifier with this body and a linear head, and its description, for ``save_classifier``.

    Args:
        backbone: Backbone made by :func:`build_backbone`.
        spec: Description of the backbone, with the names of the classes.
        weight: Weight of the head.
        bias: Bias of the head.

    Returns:
        Classifier and description; None where the architecture's own head is not one linear layer.
    """
    whole = replace(spec, num_classes=len(bias))
    model = build_classifier(whole)
    inner: Any = model.classifier
    head = inner.get_classifier()
    if not isinstance(head, nn.Linear):
        return None
    inner.load_state_dict(backbone.network.state_dict(), strict=False)
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    return model.to(weight.device), whole


def use_channels_last(network: nn.Module) -> None:
    """Store the convolutions of tested bodies in a network channels last, in place; everything else stays as it is.

    A float32 convolution on a CPU is faster with it. Bodies outside of :data:`CHANNELS_LAST` stay as they are, and so
    does one that contains a convolution of kernel 1, stride above 1 and fewer than 16 input channels: oneDNN (seen
    with 3.12, AVX2 and AVX-512) writes its weight gradient outside of its memory.

    Args:
        network: Network with :class:`Backbone` or :class:`~myosotis.models.normalization.NormalizedClassifier` modules
            somewhere in it.

    Example:
        >>> spec = ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.5,), {"widths": [16, 32], "blocks": [1, 1]})
        >>> body = build_backbone(spec, seed=0)
        >>> use_channels_last(body)
        >>> body.network.stages[1][0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
        True
    """
    for module in network.modules():
        if isinstance(module, Backbone | NormalizedClassifier):
            body: Any = module.network if isinstance(module, Backbone) else module.classifier
            if _architecture(body) in CHANNELS_LAST and not _overflows(body):
                body.to(memory_format=torch.channels_last)


def _architecture(body: nn.Module) -> str | None:
    """The name of the architecture of a body; None where it has none."""
    if isinstance(body, SmallResNet):
        return "small-resnet"
    config: Any = getattr(body, "pretrained_cfg", None)
    return config.get("architecture") if isinstance(config, dict) else None


def _overflows(body: nn.Module) -> bool:
    """Whether a body contains a convolution whose weight gradient oneDNN writes out of bounds, channels last."""
    return any(
        isinstance(module, nn.Conv2d)
        and set(module.kernel_size) == {1}
        and max(module.stride) > 1
        and module.in_channels // module.groups < _SAFE_CHANNELS
        for module in body.modules()
    )
