"""Stress tests: relearning, and altered copies of forgotten images."""

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
    """Return slightly changed copies of images by the kind of change, one round of all images after another.

    A model that errs on an image but is right on the image moved by a pixel has patched an answer, not forgotten.

    Args:
        images: Images in [0, 1].
        seed: Seed of the noise.

    Returns:
        ``shifted``: by one pixel in each of four directions, edges repeated; ``mirrored``: left to right; ``noisy``:
        normal noise of standard deviation 0.05 a pixel; ``lighting``: a tenth brighter, and a tenth darker. All in [0,
        1].
    """
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    height, width = images.shape[2:]
    corners = ((0, 1), (2, 1), (1, 0), (1, 2))
    shifted = torch.cat([padded[:, :, top : top + height, left : left + width] for top, left in corners])
    return {
        "shifted": shifted,
        "mirrored": images.flip(3),
        "noisy": noisy_copies(images, noise_generator(seed)),
        "lighting": torch.cat([(images * (1 + sign * _BRIGHTNESS)).clamp(0, 1) for sign in (1, -1)]),
    }


def noise_generator(seed: int) -> torch.Generator:
    """Return the generator of the noise of copies, on the CPU, so that every model sees the same copies."""
    return generator(seed, "noisy copies")


def noisy_copies(
    images: Float[Tensor, "n channels height width"], stream: torch.Generator
) -> Float[Tensor, "n channels height width"]:
    """Return copies with normal noise of standard deviation 0.05 a pixel, in [0, 1].

    Args:
        images: Images in [0, 1].
        stream: Generator of the noise, see :func:`noise_generator`.
    """
    return (images + _NOISE * torch.randn(images.shape, generator=stream).to(images)).clamp(0, 1)


@torch.no_grad()
def copies_accuracy(
    model: nn.Module, images: Float[Tensor, "n channels height width"], labels: Int[Tensor, " n"], seed: int = 0
) -> dict[str, float]:
    """Return the accuracy on :func:`augmented_copies` by the kind of change.

    Args:
        model: Classifier, used in evaluation mode.
        images: Images of the forgotten instances, in [0, 1], on the model's device.
        labels: True classes.
        seed: Seed of the noise.
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
    """Train a copy on the true labels of some instances and measure the accuracy on the others.

    Hidden knowledge returns within a few steps, and also for instances that were not shown again; what was never
    learned must be learned first. Compare with the curve of a retrained reference. SGD with momentum 0.9 on the part as
    one batch, batch normalisation by its running statistics.

    Args:
        model: Classifier; not changed.
        images: Images of the forgotten instances, in [0, 1], on the model's device.
        labels: True classes.
        share: Share of the instances that are shown; at least one is, and at least one is not.
        steps: Training steps.
        learning_rate: Learning rate of SGD.
        seed: Seed of the choice.

    Returns:
        For step 0 to ``steps``: ``step``, ``shown`` and ``held``, the accuracy on instances shown and not shown.

    Raises:
        ValueError: There are fewer than two instances.
    """
    count = len(labels)
    if count < 2:
        raise ValueError("relearning needs at least two instances: one to train on, one to measure")
    order = torch.randperm(count, generator=generator(seed, "relearning")).to(labels.device)
    shown_count = min(max(round(share * count), 1), count - 1)
    shown, held = order[:shown_count], order[shown_count:]
    learner = copy.deepcopy(model).eval().requires_grad_(True)
    optimizer = torch.optim.SGD(learner.parameters(), lr=learning_rate, momentum=0.9)
    curve: list[dict[str, float]] = []
    for step in range(steps + 1):
        logits = learner(images[shown])
        with torch.no_grad():
            accuracies = [
                (answers == labels[indices]).float().mean().item()
                for answers, indices in ((logits.argmax(dim=1), shown), (learner(images[held]).argmax(dim=1), held))
            ]
        curve.append({"step": step, "shown": accuracies[0], "held": accuracies[1]})
        if step < steps:
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(logits.float(), labels[shown]).backward()
            optimizer.step()
    return curve


def steps_to_return(curve: list[dict[str, float]], level: float) -> int | None:
    """Return the number of steps until accuracy on instances not shown reaches ``level``; None if it never does.

    Example:
        >>> steps_to_return([{"step": 0, "held": 0.0}, {"step": 1, "held": 0.5}], 0.5)
        1
    """
    return next((int(point["step"]) for point in curve if point["held"] >= level), None)
