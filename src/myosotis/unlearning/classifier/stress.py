"""What may bring a forgotten instance back, or show that only the exact image was dealt with."""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating

_NOISE = 0.05
_BRIGHTNESS = 0.1


def augmented_copies(
    images: Float[Tensor, "n channels height width"], seed: int = 0
) -> dict[str, Float[Tensor, "copies_n channels height width"]]:
    """Return slightly changed copies of images, by the kind of change; copies of one kind follow each other in rounds.

    A model that errs on an image but is right on the image moved by a pixel has patched an answer, not forgotten.

    Args:
        images: In [0, 1].
        seed: Of the noise.

    Returns:
        ``shifted``: by one pixel in each of four directions, edges repeated; ``mirrored``: left to right; ``noisy``:
        normal noise of standard deviation 0.05 a pixel; ``lighting``: a tenth brighter, and a tenth darker. All in [0,
        1].
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    height, width = images.shape[2:]
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    shifted = torch.cat([padded[:, :, top : top + height, left : left + width] for top, left in corners])
    noise = torch.randn(images.shape, generator=generator(seed, "noisy copies")).to(images)
    return {
        "shifted": shifted,
        "mirrored": images.flip(3),
        "noisy": (images + _NOISE * noise).clamp(0, 1),
        "lighting": torch.cat([(images * (1 + sign * _BRIGHTNESS)).clamp(0, 1) for sign in (1, -1)]),
    }


@torch.no_grad()
def copies_accuracy(
    model: nn.Module, images: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"], seed: int = 0
) -> dict[str, float]:
    """Return the share of :func:`augmented_copies` that still gets the true label, by the kind of change.

    Args:
        model: Looked at in evaluation mode.
        images: Of the forgotten instances, in [0, 1], on the model's device.
        labels: Their true classes.
        seed: Of the noise.
    """
    with evaluating(model):
        return {
            kind: (model(copies).argmax(dim=1) == labels.repeat(len(copies) // len(images))).float().mean().item()
            for kind, copies in augmented_copies(images, seed).items()
        }


def relearning_curve(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    *,
    share: float = 0.5,
    steps: int = 20,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Train a copy on the true labels of a part of the instances and watch the others come back.

    What only hides returns within a few steps, and returns for instances that were not shown again; what was never
    learnt has to be learnt. To be read beside the curve of a retrained reference. SGD with momentum 0.9 on the part as
    one batch, batch normalisation by its running statistics.

    Args:
        model: Not changed.
        images: Of the forgotten instances, in [0, 1], on the model's device.
        labels: Their true classes.
        share: Of the instances that are shown; at least one is, and at least one is not.
        steps: How many.
        learning_rate: Of SGD.
        seed: Of the choice.

    Returns:
        For step 0 to ``steps``: ``step``, ``shown`` and ``held``, the accuracy on instances shown and not shown.

    Raises:
        ValueError: There are fewer than two instances.
    """
    count = len(labels)
    if count < 2:
        raise ValueError("relearning shows one instance and watches another: there must be two")
    order = torch.randperm(count, generator=generator(seed, "relearning")).to(labels.device)
    shown_count = min(max(round(share * count), 1), count - 1)
    shown, held = order[:shown_count], order[shown_count:]
    learner = copy.deepcopy(model).eval().requires_grad_(True)
    optimizer = torch.optim.SGD(learner.parameters(), lr=learning_rate, momentum=0.9)
    curve: list[dict[str, float]] = []
    for step in range(steps + 1):
        logits = learner(images[shown])
        with torch.no_grad():
            right = [
                (answers == labels[places]).float().mean().item()
                for answers, places in ((logits.argmax(dim=1), shown), (learner(images[held]).argmax(dim=1), held))
            ]
        curve.append({"step": step, "shown": right[0], "held": right[1]})
        if step < steps:
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits.float(), labels[shown]).backward()
            optimizer.step()
    return curve


def steps_to_return(curve: list[dict[str, float]], level: float) -> int | None:
    """Return after how many steps the instances that were not shown are as accurate as ``level``; None if never.

    Example:
        >>> steps_to_return([{"step": 0, "held": 0.0}, {"step": 1, "held": 0.5}], 0.5)
        1
    """
    return next((int(point["step"]) for point in curve if point["held"] >= level), None)
