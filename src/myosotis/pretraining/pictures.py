"""Pictures of what a network hides and what it makes of it."""

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

_MOST_MEASURED = 1000
_CHUNK = 250


def shown_places(images: ImageSet, count: int, seed: int) -> Int[Tensor, " n"]:
    """Return the places of some images, the same each time."""
    return torch.tensor(images.shuffled(seed, "shown")[:count], dtype=torch.long)


def reconstruct(model: MaskedModel, images: Tensor, ratio: float, progress: float, seed: int) -> Reconstruction:
    """Return what a network makes of images, in evaluation mode; it is its own teacher.

    Args:
        model: On the device of ``images``.
        images: In [0, 1].
        ratio: Share of hidden tokens.
        progress: Of the training, for maskers that change on the way.
        seed: Of the masks.
    """
    guide = model.masker.guide
    with evaluating(model), torch.no_grad():
        said = None if guide is None else model.guidance(images, guide)
        found: Reconstruction = model(
            images, ratio=ratio, progress=progress, generator=generator(seed, "shown masks"), guide=said
        )
    return found


def draw_pictures(
    model: MaskedModel,
    images: ImageSet,
    places: Int[Tensor, " n"],
    ratio: float,
    seed: int,
    device: torch.device | str,
) -> list[dict[str, str]]:
    """Return for each place the image, what is visible of it, its reconstruction and what guided the mask, as PNG."""
    if not len(places):
        return []
    whole = to_unit(images.images[places].to(device))
    found = reconstruct(model, whole, ratio, 1.0, seed)
    masked, guess = (drawn.cpu() for drawn in model.pictures(whole, found))
    drawn = []
    for place in range(len(places)):
        one = {
            "original": _png(whole[place].cpu()),
            "masked": _png(masked[place]),
            "reconstruction": _png(guess[place]),
        }
        if found.mask.guide is not None:
            one["guide"] = _overlay(whole[place].cpu(), found.mask.guide[place].cpu(), model.grid)
        drawn.append(one)
    return drawn


def draw_mask(image: Float[Tensor, "channels height width"], hidden: list[int], grid: tuple[int, int]) -> str:
    """Return an image with grey where tokens are hidden, as a PNG file."""
    flat = torch.zeros(grid[0] * grid[1])
    flat[hidden] = 1.0
    return _png(torch.where(_blown_up(flat, grid, image).bool(), 0.5, image))


def realised_ratios(
    model: MaskedModel, images: ImageSet, ratio: float, seed: int, device: torch.device | str
) -> list[float]:
    """Return the share of hidden tokens in each of some images, with the network as it is."""
    some = shown_places(images, _MOST_MEASURED, seed)
    found = []
    for number, places in enumerate(some.split(_CHUNK)):
        whole = to_unit(images.images[places].to(device))
        mask = reconstruct(model, whole, ratio, 1.0, seed + number).mask
        found += [round(value, 6) for value in mask.ratios.tolist()]
    return found


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
