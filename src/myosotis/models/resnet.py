"""Residual networks for images of 28 to 64 pixels, which torchvision and timm do not have."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al., CVPR 2016, figure 5 left).

    Without ``last_relu`` the output may be negative, as the cosine heads of LUCIR and PODNet need it.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, last_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.last_relu = last_relu
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Float[Tensor, "n channels_in h w"]) -> Float[Tensor, "n channels_out h2 w2"]:
        """Return the block's output."""
        inner = functional.relu(self.bn1(self.conv1(x)))
        output = self.bn2(self.conv2(inner)) + self.shortcut(x)
        return functional.relu(output) if self.last_relu else output


class SmallResNet(nn.Module):
    """A ResNet with a 3x3 stem and no pooling before its stages.

    With ``widths=(64, 128, 256, 512)`` and ``blocks=(2, 2, 2, 2)`` it is the ResNet-18 that the literature uses for
    CIFAR. Every stage but the first halves the resolution.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes, C; 0 for no head.
        widths: Channels of each stage.
        blocks: Blocks of each stage.
        stem_stride: Stride of the first convolution; 2 needs a quarter of the computation.
        last_relu: Whether the last block ends in a ReLU.

    Raises:
        ValueError: ``widths`` and ``blocks`` differ in length.

    Example:
        >>> import torch
        >>> model = SmallResNet(1, 10, widths=(8, 16), blocks=(1, 1))
        >>> model(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        in_channels: int = 3,
        num_classes: int = 10,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        stem_stride: int = 1,
        last_relu: bool = True,
    ) -> None:
        super().__init__()
        if len(widths) != len(blocks) or not widths:
            raise ValueError(f"widths and blocks must have the same length, got {len(widths)} and {len(blocks)}")
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, stem_stride, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        stages, width = [], widths[0]
        for number, (stage_width, count) in enumerate(zip(widths, blocks, strict=True)):
            layers = []
            for block in range(count):
                last = number == len(widths) - 1 and block == count - 1
                layers.append(
                    BasicBlock(width, stage_width, 2 if number > 0 and block == 0 else 1, last_relu or not last)
                )
                width = stage_width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.num_features = width
        self.head: nn.Module = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_maps(self, images: Float[Tensor, "n channels height width"]) -> list[Tensor]:
        """Return the output of every stage, each (n, width, height, width)."""
        maps = []
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps

    def forward_features(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features"]:
        """Return the features below the head, averaged over the image."""
        return self.forward_maps(images)[-1].mean(dim=(2, 3))

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        logits: Tensor = self.head(self.forward_features(images))
        return logits
