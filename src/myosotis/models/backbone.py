"""A network without its head: what it sees of an image, at every stage and at the end."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.models.resnet import SmallResNet


@dataclass(frozen=True)
class Seen:
    """What a backbone makes of a batch.

    Attributes:
        features: The vector below the head.
        maps: The outputs of the stages, (n, channels, height, width) each.
    """

    features: Float[Tensor, "n features"]
    maps: tuple[Tensor, ...]


class Backbone(nn.Module):
    """A classifier's body behind its normalisation: takes images in [0, 1].

    Args:
        classifier: A :class:`~myosotis.models.resnet.SmallResNet` or a model of timm, without a head.

    Raises:
        InputError: The architecture does not give out the maps of its stages.
    """

    num_features: int

    def __init__(self, classifier: NormalizedClassifier) -> None:
        super().__init__()
        self.normalize = classifier.normalize
        network: Any = classifier.classifier
        self.network = network
        if not isinstance(network, SmallResNet) and not hasattr(network, "forward_intermediates"):
            raise InputError(f"{type(network).__name__} does not give out the maps of its stages")
        self.num_features = int(getattr(network, "head_hidden_size", None) or network.num_features)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Seen:
        """Return features and maps."""
        x = self.normalize(images)
        if isinstance(self.network, SmallResNet):
            maps = self.network.forward_maps(x)
            return Seen(maps[-1].mean(dim=(2, 3)), tuple(maps))
        last, maps = self.network.forward_intermediates(x)
        return Seen(self.network.forward_head(last, pre_logits=True), tuple(maps))


def build_backbone(
    spec: ClassifierSpec, *, seed: int | None = None, pretrained: bool = False, signed: bool = False
) -> Backbone:
    """Return a new backbone.

    Args:
        spec: Its ``num_classes`` does not matter.
        seed: Of the initial weights; None leaves them to torch's global generator.
        pretrained: Take timm's weights.
        signed: Leave out the last ReLU, for heads that measure angles. Only the own architectures can; models of timm
            stay as they are.

    Raises:
        InputError: The architecture is unknown or does not fit.

    Example:
        >>> spec = ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.5,), {"widths": [4, 8], "blocks": [1, 1]})
        >>> seen = build_backbone(spec, seed=0)(torch.rand(2, 1, 28, 28))
        >>> seen.features.shape, [tuple(one.shape) for one in seen.maps]
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
        backbone: Made by :func:`build_backbone`.
        spec: What it was made of, with the names of the classes.
        weight: Of the head.
        bias: Of the head.

    Returns:
        Both; None where the architecture's own head is not one linear layer.
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
