"""Pictures of hidden tokens and of their reconstruction."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib import colormaps
from torch import Tensor

from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating
from myosotis.pretraining.masked_model import MaskedModel, Reconstruction
from myosotis.report.pictures import encoded_png

_MAX_MEASURED = 1000
_CHUNK = 250


def shown_indices(images: ImageSet, count: int, seed: int) -> Int[Tensor, " n"]:
    """Return the indices of images to show, the same each time."""
    return torch.tensor(images.shuffled(seed, "shown")[:count], dtype=torch.long)


def reconstruct(model: MaskedModel, images: Tensor, ratio: float, progress: float, seed: int) -> Reconstruction:
    """Return the reconstruction of images in evaluation mode; the network is its own teacher.

    Args:
        model: Network on the device of ``images``.
        images: Pixels in [0, 1].
        ratio: Share of hidden tokens.
        progress: Share of the training that is done, for maskers that change on the way.
        seed: Seed of the masks.
    """
    guide = model.masker.guide
    with evaluating(model), torch.no_grad():
        guidance = None if guide is None else model.guidance(images, guide)
        reconstruction: Reconstruction = model(
            images, ratio=ratio, progress=progress, generator=generator(seed, "shown masks"), guide=guidance
        )
    return reconstruction


def draw_pictures(
    model: MaskedModel,
    images: ImageSet,
    indices: Int[Tensor, " n"],
    ratio: float,
    seed: int,
    device: torch.device | str,
) -> list[dict[str, str]]:
    """Return the image at each index, its visible part, its reconstruction and the guide of its mask, as PNG."""
    if not len(indices):
        return []
    pixels = to_unit(images.images[indices].to(device))
    reconstruction = reconstruct(model, pixels, ratio, 1.0, seed)
    masked, filled = (picture.cpu() for picture in model.pictures(pixels, reconstruction))
    drawn = []
    for index in range(len(indices)):
        row = {
            "original": _png(pixels[index].cpu()),
            "masked": _png(masked[index]),
            "reconstruction": _png(filled[index]),
        }
        if reconstruction.mask.guide is not None:
            row["guide"] = _overlay(pixels[index].cpu(), reconstruction.mask.guide[index].cpu(), model.grid)
        drawn.append(row)
    return drawn


def draw_mask(image: Float[Tensor, "channels height width"], hidden: list[int], grid: tuple[int, int]) -> str:
    """Return an image with grey where tokens are hidden, as a PNG file."""
    flat = torch.zeros(grid[0] * grid[1])
    flat[hidden] = 1.0
    return _png(torch.where(_blown_up(flat, grid, image).bool(), 0.5, image))


def realised_ratios(
    model: MaskedModel, images: ImageSet, ratio: float, seed: int, device: torch.device | str
) -> list[float]:
    """Return the share of hidden tokens in each of at most 1000 images, with the network as it is."""
    chosen = shown_indices(images, _MAX_MEASURED, seed)
    ratios: list[float] = []
    for number, indices in enumerate(chosen.split(_CHUNK)):
        pixels = to_unit(images.images[indices].to(device))
        mask = reconstruct(model, pixels, ratio, 1.0, seed + number).mask
        ratios += [round(value, 6) for value in mask.ratios.tolist()]
    return ratios


def _png(image: Float[Tensor, "channels height width"]) -> str:
    return encoded_png((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())


def _overlay(image: Tensor, guide: Float[Tensor, " tokens"], grid: tuple[int, int]) -> str:
    low, high = guide.min(), guide.max()
    shade = _blown_up((guide - low) / (high - low).clamp(min=1e-12), grid, image)[0].numpy()
    colour: Any = colormaps["cividis"](shade)[..., :3]
    grey = image.mean(dim=0).numpy()[..., None]
    return encoded_png((255 * (0.65 * colour + 0.35 * grey)).round().astype(np.uint8))


def _blown_up(values: Float[Tensor, " tokens"], grid: tuple[int, int], image: Tensor) -> Tensor:
    rows, columns = image.shape[1] // grid[0], image.shape[2] // grid[1]
    return values.view(1, *grid).repeat_interleave(rows, 1).repeat_interleave(columns, 2)
