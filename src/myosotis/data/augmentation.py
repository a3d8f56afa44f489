"""Augmentation of whole batches at once."""

import torch
from jaxtyping import Shaped
from torch import Tensor


def crop_and_flip(
    images: Shaped[Tensor, "n channels height width"],
    generator: torch.Generator,
    *,
    padding: int = 4,
    flip: bool = True,
) -> Shaped[Tensor, "n channels height width"]:
    """Shift every image by up to ``padding`` pixels, padded with black, and mirror it with probability one half.

    Args:
        images: Images as bytes or floats.
        generator: Generator on the CPU.
        padding: Largest shift in pixels; 0 for none.
        flip: Whether images are mirrored left to right.

    Returns:
        New images, each with its own shift and mirroring.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> crop_and_flip(image, torch.Generator(), padding=0, flip=False).equal(image)
        True
    """
    if padding < 0:
        raise ValueError(f"padding must be at least 0, got {padding}")
    count, channels, height, width = images.shape
    shifts = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(images.device)
    mirrored = torch.rand(count, generator=generator).to(images.device) < 0.5
    rows = shifts[0].unsqueeze(1) + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(count, width)
    if flip:
        columns = torch.where(mirrored.unsqueeze(1), width - 1 - columns, columns)
    columns = shifts[1].unsqueeze(1) + columns
    padded = torch.nn.functional.pad(images, (padding, padding, padding, padding))
    rows_of_batch = torch.arange(count, device=images.device)
    planes = torch.arange(channels, device=images.device)
    return padded[
        rows_of_batch.view(-1, 1, 1, 1),
        planes.view(1, -1, 1, 1),
        rows.view(count, 1, height, 1),
        columns.view(count, 1, 1, width),
    ]
