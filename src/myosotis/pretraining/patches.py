"""Images as patches and back, the targets of reconstruction, and positions as sines."""

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.engine.errors import SettingsError

Images = Float[Tensor, "batch channels height width"]
Patches = Float[Tensor, "batch tokens pixels"]

_EPSILON = 1e-6


def to_patches(images: Images, size: int) -> Patches:
    """Return the patches of images, row by row; in a patch, rows, columns, then channels, as in MAE.

    Args:
        images: Any numbers.
        size: Side of a patch.

    Raises:
        SettingsError: Patches do not fill the image.

    Example:
        >>> to_patches(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1].tolist()
        [2.0, 3.0, 6.0, 7.0]
    """
    batch, channels, height, width = images.shape
    if height % size or width % size:
        raise SettingsError(f"image size {width}x{height} is not a multiple of the patch size {size}x{size}")
    cut = images.reshape(batch, channels, height // size, size, width // size, size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, size * size * channels)


def from_patches(patches: Patches, size: int, grid: tuple[int, int]) -> Images:
    """Return the images that :func:`to_patches` made these patches of.

    Args:
        patches: The output of :func:`to_patches`.
        size: Side of a patch.
        grid: Rows and columns of patches.

    Example:
        >>> images = torch.rand(2, 3, 4, 6)
        >>> from_patches(to_patches(images, 2), 2, (2, 3)).equal(images)
        True
    """
    batch, rows, columns = patches.shape[0], *grid
    cut = patches.reshape(batch, rows, columns, size, size, -1).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(batch, -1, rows * size, columns * size)


def normalized_patches(patches: Patches) -> Patches:
    """Return each patch less its mean and divided by its deviation: the targets of MAE (He et al., CVPR 2022).

    ``(t - mean) / sqrt(var + 1e-6)`` with the unbiased variance; a constant patch becomes zero.
    """
    mean, variance = patches.mean(dim=-1, keepdim=True), patches.var(dim=-1, keepdim=True)
    return (patches - mean) / (variance + _EPSILON).sqrt()


def with_own_statistics(predicted: Patches, original: Patches) -> Patches:
    """Return predictions of normalised patches as pixels, with mean and deviation of the *original* patches.

    For pictures only: brightness and contrast of what was hidden are not predicted but taken from the original.
    """
    mean, variance = original.mean(dim=-1, keepdim=True), original.var(dim=-1, keepdim=True)
    return predicted * (variance + _EPSILON).sqrt() + mean


def sine_positions(grid: tuple[int, int], dim: int) -> Float[Tensor, "tokens dim"]:
    """Return fixed positions of a grid of tokens: half of the numbers for the column, half for the row, as in MAE.

    Each half is ``sin(p w_k)`` and then ``cos(p w_k)`` with ``w_k = 10000^(-k / (dim / 4))``.

    Args:
        grid: Rows and columns.
        dim: Width of a token; divisible by 4.

    Raises:
        SettingsError: It is not.

    Example:
        >>> positions = sine_positions((7, 7), 64)
        >>> [round(value, 3) for value in positions.square().sum(dim=1).unique().tolist()]
        [32.0]
    """
    if dim % 4:
        raise SettingsError(f"positions on a plane need a width divisible by 4, got {dim}")
    rates = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float64) for side in grid), indexing="ij")
    parts = []
    for coordinates in (columns, rows):
        angles = coordinates.flatten()[:, None] * rates
        parts += [angles.sin(), angles.cos()]
    return torch.cat(parts, dim=1).float()
