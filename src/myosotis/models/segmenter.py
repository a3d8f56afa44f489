"""Bodies of segmentation networks: of this package, torchvision, timm or smp."""

import difflib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import InputError
from myosotis.engine.seeding import seeded
from myosotis.models.image_classifier import pretrained_statistics
from myosotis.models.normalization import Normalize
from myosotis.models.weight_files import Pretrained, load_weights_file, timm_name, weights_file

Library = Literal["own", "torchvision", "timm", "smp"]

_RATES = (12, 24, 36)  # of the atrous convolutions at an output stride of 8; halved at 16
_ASPP_CHANNELS = 256
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class SegmenterSpec:
    """Description of a body.

    Attributes:
        library: Library of the body.
        architecture: ``small-segmenter``; a model of torchvision, e.g. ``deeplabv3_resnet101``; an encoder of timm,
            which gets atrous pooling; or a model of smp and its encoder, e.g. ``DeepLabV3Plus/resnet34``.
        in_channels: Channels of the images.
        mean: Mean of each channel, in units of [0, 1] pixels.
        std: Standard deviation of each channel.
        options: Further arguments of the architecture.
        norm_momentum: Momentum of the running statistics of batch normalisation; None keeps the default.
    """

    library: Library
    architecture: str
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    norm_momentum: float | None = None


class SmallSegmenter(nn.Module):
    """A few convolutions with group normalisation: features at a quarter of the resolution, joined by those at a half.

    Args:
        in_channels: Channels of the images.
        widths: Channels at half resolution, at a quarter, and of the output.
        dilations: Dilations of the convolutions at a quarter of the resolution.

    Example:
        >>> body = SmallSegmenter(1, (8, 16, 16))
        >>> features, maps = body(torch.rand(2, 1, 48, 48))
        >>> features.shape, len(maps)
        (torch.Size([2, 16, 24, 24]), 3)
    """

    def __init__(
        self, in_channels: int = 3, widths: Sequence[int] = (24, 48, 48), dilations: Sequence[int] = (1, 2, 4)
    ) -> None:
        super().__init__()
        half, quarter, width = widths
        self.num_features = width
        self.stem = nn.Sequential(_block(in_channels, half, stride=2), _block(half, half))
        self.down = _block(half, quarter, stride=2)
        self.context = nn.ModuleList(_block(quarter, quarter, dilation=rate) for rate in dilations)
        self.join = _block(half + quarter, width)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features at half resolution, and maps of three layers."""
        near = self.stem(x)
        down = self.down(near)
        deep = down
        for block in self.context:
            deep = deep + block(deep)
        large = functional.interpolate(deep, size=near.shape[2:], mode="bilinear", align_corners=False)
        return self.join(torch.cat([near, large], dim=1)), (near, down, deep)


class _Torchvision(nn.Module):
    """Body and neck of a model of torchvision, without its last convolution."""

    def __init__(self, spec: SegmenterSpec, pretrained: Pretrained) -> None:
        super().__init__()
        from torchvision.models import segmentation as zoo  # these libraries take longer than to refuse a configuration

        known = [name for name in dir(zoo) if callable(getattr(zoo, name)) and name[0].islower()]
        if spec.architecture not in known:
            raise InputError(f"torchvision has no '{spec.architecture}'{_hint(spec.architecture, known)}")
        if spec.in_channels != 3:
            raise InputError("models of torchvision take images of three channels")
        weights = "DEFAULT" if pretrained is True else None
        model = getattr(zoo, spec.architecture)(weights=None, weights_backbone=weights, **spec.options)
        self.backbone = model.backbone
        if isinstance(pretrained, Path):
            load_weights_file(self.backbone, pretrained)
        head = model.classifier
        self.low: nn.Module | None = None
        if isinstance(head, nn.Sequential):
            last: Any = head[-1]
            # Slicing a subclass of Sequential would call its constructor.
            self.neck: nn.Module = nn.Sequential(*list(head)[:-1])
            self.num_features = int(last.in_channels)
        else:  # LR-ASPP adds convolutions of two resolutions, which equals one convolution of both concatenated
            self.neck = nn.ModuleDict({"cbr": head.cbr, "scale": head.scale})
            self.low = nn.Identity()
            parts: Any = head
            self.num_features = int(parts.low_classifier.in_channels + parts.high_classifier.in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features and the maps of the stages."""
        if self.low is not None:
            outputs = self.backbone(x)
            near, deep = outputs["low"], outputs["high"]
            parts: Any = self.neck
            wide = parts["cbr"](deep) * parts["scale"](deep)
            large = functional.interpolate(wide, size=near.shape[2:], mode="bilinear", align_corners=False)
            return torch.cat([near, large], dim=1), (near, deep)
        maps = []
        for name, layer in self.backbone.items():
            x = layer(x)
            if name.startswith("layer"):
                maps.append(x)
        return self.neck(x), tuple(maps or [x])


class _Timm(nn.Module):
    """An encoder of timm under atrous spatial pyramid pooling (Chen et al., 2017)."""

    def __init__(self, spec: SegmenterSpec, pretrained: Pretrained) -> None:
        import timm
        from torchvision.models.segmentation.deeplabv3 import ASPP

        super().__init__()
        name = timm_name(spec.architecture)
        if not timm.is_model(name.partition(".")[0]):
            raise InputError(f"timm has no '{spec.architecture}'{_hint(spec.architecture, timm.list_models())}")
        options = {"output_stride": 16, **spec.options}
        file = weights_file(spec.architecture, pretrained)
        self.encoder = timm.create_model(
            name,
            pretrained=pretrained is True and file is None,
            features_only=True,
            in_chans=spec.in_channels,
            **options,
        )
        if file is not None:
            whole = timm.create_model(name, in_chans=spec.in_channels, **spec.options)
            load_weights_file(whole, file)
            _copy_encoder(self.encoder, whole, spec.architecture)
        channels = self.encoder.feature_info.channels()[-1]
        rates = [rate * 8 // options["output_stride"] for rate in _RATES]
        self.neck = ASPP(channels, rates, _ASPP_CHANNELS)
        self.num_features = _ASPP_CHANNELS

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features and the maps of the stages."""
        maps = self.encoder(x)
        return self.neck(maps[-1]), tuple(maps)


class _Smp(nn.Module):
    """A model of segmentation-models-pytorch without its last convolution."""

    # Decoders double their maps and join them with earlier ones, so sides must be multiples of the deepest stride.
    multiple = 32

    def __init__(self, spec: SegmenterSpec, pretrained: Pretrained) -> None:
        super().__init__()
        try:
            import segmentation_models_pytorch as smp
        except ImportError:
            raise InputError(
                "library 'smp': segmentation-models-pytorch is not installed; pip install 'myosotis[segmentation]'"
            ) from None
        name, _, encoder = spec.architecture.partition("/")
        kind = getattr(smp, name, None)
        if kind is None or not isinstance(kind, type):
            raise InputError(f"smp has no model '{name}'")
        weights = "imagenet" if pretrained is True else None
        model = kind(
            encoder_name=encoder or "resnet34", encoder_weights=weights, in_channels=spec.in_channels, **spec.options
        )
        self.encoder, self.decoder = model.encoder, model.decoder
        if isinstance(pretrained, Path):
            load_weights_file(self.encoder, pretrained)
        self.num_features = int(model.segmentation_head[0].in_channels)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features and the maps of the stages."""
        maps = self.encoder(x)
        return self.decoder(maps), tuple(maps[1:])


class SegmentationBody(nn.Module):
    """A body behind its normalisation: takes images in [0, 1].

    Args:
        network: Network with ``num_features``; returns features and the maps of its stages. If it has a ``multiple``,
            images are padded with their mean, right and below, to multiples of it.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.network = network
        width: Any = network.num_features
        self.num_features = int(width)
        self.multiple = int(getattr(network, "multiple", 1))

    def forward(self, images: Float[Tensor, "n channels height width"]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return features, and maps of earlier layers, both of the padded images."""
        height, width = images.shape[2:]
        x = self.normalize(images)
        if self.multiple > 1:
            x = functional.pad(x, (0, -width % self.multiple, 0, -height % self.multiple))
        output: tuple[Tensor, tuple[Tensor, ...]] = self.network(x)
        return output


def build_segmenter(
    spec: SegmenterSpec, *, seed: int | None = None, pretrained: Pretrained = False
) -> SegmentationBody:
    """Return a new body.

    Args:
        spec: Description of the body.
        seed: Seed of the initial weights; None uses torch's global generator.
        pretrained: Weights of the encoder: None, the library's, which may download them, or a file of weights of the
            classifier that it comes from.

    Raises:
        InputError: The architecture or an option of it is unknown, or there are no weights, or those of another one.
    """
    kinds = {"torchvision": _Torchvision, "timm": _Timm, "smp": _Smp}
    with nullcontext() if seed is None else seeded(seed):
        try:
            if spec.library == "own":
                if spec.architecture != "small-segmenter":
                    raise InputError(
                        f"unknown architecture '{spec.architecture}'; the built-in one is 'small-segmenter'"
                    )
                if pretrained is True:
                    raise InputError("small-segmenter has no pre-trained weights")
                network: nn.Module = SmallSegmenter(spec.in_channels, **spec.options)
                if isinstance(pretrained, Path):
                    load_weights_file(network, pretrained)
            else:
                network = kinds[spec.library](spec, pretrained)
        except (TypeError, ValueError, RuntimeError, AssertionError, KeyError, IndexError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"architecture '{spec.architecture}': {str(error).splitlines()[0]}") from None
    if spec.norm_momentum is not None:
        layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        if not layers:
            raise InputError(f"'{spec.architecture}' has no batch normalisation, so 'norm_momentum' has no effect")
        for layer in layers:
            layer.momentum = spec.norm_momentum
    return SegmentationBody(network, spec.mean, spec.std)


def _copy_encoder(encoder: nn.Module, whole: nn.Module, architecture: str) -> None:
    """Copy the weights of a classifier's layers into an encoder that was cut from the same architecture."""
    state, given = encoder.state_dict(), whole.state_dict()
    missing = next((name for name in state if name not in given), None)
    if missing is not None:
        raise InputError(f"architecture '{architecture}': its encoder has {missing}, which the classifier has not")
    encoder.load_state_dict({name: given[name] for name in state})


def expected_pixels(library: Library, architecture: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and standard deviation of the pixels that pre-trained weights expect; None where nothing is known."""
    if library == "own":
        return None
    return pretrained_statistics(architecture) if library == "timm" else _IMAGENET


def _block(channels_in: int, channels_out: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    groups = next(count for count in (8, 4, 2, 1) if channels_out % count == 0)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=dilation, dilation=dilation, bias=False),
        nn.GroupNorm(groups, channels_out),
        nn.ReLU(),
    )


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
