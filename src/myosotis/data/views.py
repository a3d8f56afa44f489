"""Random views of images for self-supervised learning, for a whole batch at once, each image with its own random draws.

The transforms do the same as torchvision's, but for a batch in one call.
"""

import math
from collections.abc import Callable
from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from myosotis.data.images import to_unit
from myosotis.engine.config import Config
from myosotis.engine.processes import to_device

Images = Float[Tensor, "n channels height width"]
PerImage = Float[Tensor, " n"]

_ATTEMPTS = 10
_GREY = (0.2989, 0.587, 0.114)


Probability = Annotated[float, Field(ge=0, le=1)]


class ViewSettings(Config):
    """Random views of an image; the defaults are those of MoCo v2+ on small images.

    Attributes:
        area: Range of the share of the image that is cropped, and scaled to the size of the image.
        ratio: Range of width by height of the crop.
        flip: Probability of mirroring.
        jitter: Probability of changing colours.
        brightness: Largest relative change of brightness; the order of the changes is random.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation; without effect on grey images, as ``hue`` and ``grey``.
        hue: Largest turn of the colour circle.
        grey: Probability of losing the colours.
        blur: Probability of a Gaussian blur, for each view.
        sigma: Range of the standard deviation of the blur, in pixels.
        solarise: Probability that bright pixels are inverted, for each view.
    """

    area: tuple[PositiveFloat, PositiveFloat] = (0.08, 1.0)
    ratio: tuple[PositiveFloat, PositiveFloat] = (3 / 4, 4 / 3)
    flip: Probability = 0.5
    jitter: Probability = 0.8
    brightness: NonNegativeFloat = 0.4
    contrast: NonNegativeFloat = 0.4
    saturation: NonNegativeFloat = 0.2
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    grey: Probability = 0.2
    blur: tuple[Probability, Probability] = (0.0, 0.0)
    sigma: tuple[PositiveFloat, PositiveFloat] = (0.1, 2.0)
    solarise: tuple[Probability, Probability] = (0.0, 0.2)

    @model_validator(mode="after")
    def _ascending(self) -> "ViewSettings":
        for name in ("area", "ratio", "sigma"):
            low, high = getattr(self, name)
            if low > high or (name == "area" and high > 1):
                raise ValueError(f"'{name}' must be two ascending {'shares' if name == 'area' else 'numbers'}")
        return self


def two_views(images: Tensor, settings: ViewSettings, generator: torch.Generator) -> tuple[Images, Images]:
    """Return two random views of every image.

    Args:
        images: (n, channels, height, width), bytes or numbers in [0, 1], on any device.
        settings: Settings of the views.
        generator: Generator on the CPU, for all draws.

    Returns:
        Both views, in [0, 1].

    Example:
        >>> images = torch.rand(2, 3, 8, 8)
        >>> first, second = two_views(images, ViewSettings(), torch.Generator().manual_seed(0))
        >>> first.shape, bool((first != second).any())
        (torch.Size([2, 3, 8, 8]), True)
    """
    whole = to_unit(images) if images.dtype == torch.uint8 else images
    return _view(whole, settings, 0, generator), _view(whole, settings, 1, generator)


def _view(images: Images, settings: ViewSettings, number: int, generator: torch.Generator) -> Images:
    count, channels, height, width = images.shape
    device = images.device

    # All draws, and what follows from them, stay on the host until an image needs them: nothing waits for the device.
    def draw(low: float, high: float) -> PerImage:
        return low + (high - low) * torch.rand(count, generator=generator)

    def happens(probability: float) -> Int[Tensor, " m"]:
        return (torch.rand(count, generator=generator) < probability).nonzero().flatten()

    boxes = draw_boxes(count, (height, width), settings.area, settings.ratio, generator)
    mirrored = torch.zeros(count, dtype=torch.bool)
    mirrored[happens(settings.flip)] = True
    view = resized_crop(images, boxes, mirrored)

    changed = happens(settings.jitter)
    amounts = (settings.brightness, settings.contrast, settings.saturation)
    factors = [draw(max(0.0, 1 - amount), 1 + amount) for amount in amounts]
    turns = draw(-settings.hue, settings.hue)
    order = torch.rand(count, 4, generator=generator).argsort(dim=1)
    greyed, blurred = happens(settings.grey), happens(settings.blur[number])
    sigma = draw(*settings.sigma)
    inverted = happens(settings.solarise[number])

    kinds: list[tuple[int, Callable[[Tensor, Tensor], Tensor], Tensor]] = [
        (0, brightened, factors[0]),
        (1, contrasted, factors[1]),
    ]
    if channels == 3:
        kinds += [(2, saturated, factors[2]), (3, hue_turned, turns)]
    none = {0: settings.brightness, 1: settings.contrast, 2: settings.saturation, 3: settings.hue}

    def apply(rows: Int[Tensor, " m"], change: Callable[..., Tensor], *amounts: PerImage) -> None:
        if len(rows):
            own = to_device(rows, device)
            view[own] = change(view[own], *(to_device(amount[rows], device) for amount in amounts))

    for position in range(4):
        for kind, change, amount in kinds:
            if none[kind]:
                apply(changed[order[changed, position] == kind], change, amount)
    if channels == 3:
        apply(greyed, lambda some: _luma(some).expand(-1, 3, -1, -1))
    size = blur_size(min(height, width))
    apply(blurred, lambda some, deviation: gaussian_blurred(some, deviation, size), sigma)
    apply(inverted, solarised)
    return view


def draw_boxes(
    count: int,
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator,
) -> Int[Tensor, "count 4"]:
    """Draw crops as torchvision's RandomResizedCrop does: ten attempts, or else the centre, as large as ratios allow.

    Args:
        count: Number of crops.
        size: Height and width of images.
        area: Range of the share of the image, uniform.
        ratio: Range of width by height, uniform in its logarithm.
        generator: Generator on the CPU.

    Returns:
        Top, left, height and width of each crop.
    """
    height, width = size
    shares = area[0] + (area[1] - area[0]) * torch.rand(count, _ATTEMPTS, generator=generator, dtype=torch.float64)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    ratios = (low + (high - low) * torch.rand(count, _ATTEMPTS, generator=generator, dtype=torch.float64)).exp()
    wide = (shares * height * width * ratios).sqrt().round().long()
    tall = (shares * height * width / ratios).sqrt().round().long()
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    tall, wide = tall.gather(1, first).flatten(), wide.gather(1, first).flatten()
    top = (torch.rand(count, generator=generator) * (height - tall + 1)).long().clamp(max=height - 1)
    left = (torch.rand(count, generator=generator) * (width - wide + 1)).long().clamp(max=width - 1)
    whole_tall, whole_wide = height, width
    if width / height < ratio[0]:
        whole_tall = round(width / ratio[0])
    elif width / height > ratio[1]:
        whole_wide = round(height * ratio[1])
    middle = torch.tensor([(height - whole_tall) // 2, (width - whole_wide) // 2, whole_tall, whole_wide])
    drawn = torch.stack([top, left, tall, wide], dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), drawn, middle)


def resized_crop(images: Images, boxes: Int[Tensor, "n 4"], mirrored: Bool[Tensor, " n"] | None = None) -> Images:
    """Return crops, scaled bilinearly to the size of the images and padded with the edge of the crop.

    Args:
        images: Images.
        boxes: Top, left, height and width of each crop, inside the image; on the host, or on any device with float64.
        mirrored: Whether each crop is mirrored left to right, where the boxes are.
    """
    height, width = images.shape[2:]
    rows = _coordinates(boxes[:, 0], boxes[:, 2], height)
    columns = _coordinates(boxes[:, 1], boxes[:, 3], width)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    x, y = (to_device(some.to(images.dtype), images.device) for some in (columns, rows))
    grid = torch.stack([x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width)], dim=-1)
    return torch.nn.functional.grid_sample(images, grid, "bilinear", "border", align_corners=True)


def brightened(images: Images, factors: PerImage) -> Images:
    """Multiply by the factor."""
    return (images * _wide(factors)).clamp(0, 1)


def contrasted(images: Images, factors: PerImage) -> Images:
    """Multiply the difference from the mean grey of the image by the factor."""
    grey = _luma(images) if images.shape[1] == 3 else images
    return _blend(images, grey.mean(dim=(1, 2, 3), keepdim=True), factors)


def saturated(images: Images, factors: PerImage) -> Images:
    """Multiply the difference from grey of each pixel by the factor."""
    return _blend(images, _luma(images), factors)


def hue_turned(images: Images, turns: PerImage) -> Images:
    """Turn hues by a share of the colour circle; saturation and value (of HSV) stay.

    Args:
        images: Red, green and blue in [0, 1].
        turns: Share of the circle; 1 is a full turn.
    """
    high, low = images.amax(dim=1), images.amin(dim=1)
    spread = high - low
    red, green, blue = images.unbind(dim=1)
    safe = spread + (spread == 0)
    # Sixths of the circle from red, the first of the largest channels deciding; lerp is a faster choice than where.
    hue = torch.lerp(4 + (red - green) / safe, 2 + (blue - red) / safe, (high == green).to(images.dtype))
    hue = torch.lerp(hue, (green - blue) / safe, (high == red).to(images.dtype))
    hue = hue + 6 * turns[:, None, None]
    # Of a hue h the channel at k has the value high - spread * clamp(min(k, 4 - k), 0, 1) with k = (n + h) mod 6.
    parts = []
    for start in (5.0, 3.0, 1.0):
        offsets = hue + start
        offsets = offsets - 6 * (offsets / 6).floor()
        parts.append(high - spread * torch.minimum(offsets, 4 - offsets).clamp(0, 1))
    return torch.stack(parts, dim=1)


def gaussian_blurred(images: Images, sigma: PerImage, size: int) -> Images:
    """Blur each image with its own standard deviation; images are mirrored at their edges.

    Args:
        images: Images larger than half of ``size``.
        sigma: Standard deviation in pixels.
        size: Size of the kernel, odd.
    """
    half = size // 2
    offsets = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    kernel = (-0.5 * (offsets / sigma[:, None]).square()).exp()
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    padded = torch.nn.functional.pad(images, (half, half, half, half), mode="reflect")
    return _weighted(_weighted(padded, kernel, 3), kernel, 2)


def blur_size(side: int) -> int:
    """Return the size of a blur's kernel for images with this side: a tenth of it, odd, at least 3.

    Example:
        >>> blur_size(32), blur_size(224)
        (3, 23)
    """
    return max(3, 2 * (side // 20) + 1)


def solarised(images: Images) -> Images:
    """Invert pixels brighter than one half."""
    return torch.minimum(images, 1 - images)


def _coordinates(begin: Tensor, length: Tensor, size: int) -> Tensor:
    """Coordinates in the image of the ``size`` pixels of a scaled crop, in [-1, 1] from first to last pixel."""
    length = length[:, None].double()
    offsets = (torch.arange(size, device=begin.device) + 0.5) * length / size - 0.5
    offsets = offsets.clamp(min=0).minimum(length - 1) + begin[:, None]
    return offsets * (2 / max(1, size - 1)) - 1


def _weighted(padded: Tensor, kernel: Tensor, dim: int) -> Tensor:
    """Sums along a dimension, weighted by each image's kernel."""
    length = padded.shape[dim] - kernel.shape[1] + 1
    total = torch.zeros_like(padded.narrow(dim, 0, length))
    for k in range(kernel.shape[1]):
        total += _wide(kernel[:, k]) * padded.narrow(dim, k, length)
    return total


def _luma(images: Images) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    return (_GREY[0] * red + _GREY[1] * green + _GREY[2] * blue).unsqueeze(1)


def _blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    return (other + _wide(factors) * (images - other)).clamp(0, 1)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
