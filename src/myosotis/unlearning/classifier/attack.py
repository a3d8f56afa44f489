"""Targeted adversarial examples by projected gradient descent, and the labels that they are aimed at."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.models.modes import evaluating

Norm = Literal["l2", "linf"]

_NO_GRADIENT = 1e-6
"""Below this norm a gradient is rounding in float32, or the target is certain to six digits: the sample stays."""

_TINY = 1e-12  # keeps a division by a norm of zero finite


def draw_targets(
    labels: Int[Tensor, " n"], num_classes: int, copies: int, generator: torch.Generator
) -> Int[Tensor, "copies n"]:
    """Draw wrong labels, uniform over the classes that are not the true one.

    Cha et al. (AAAI 2024) aim each copy of a forget instance at a random other class. A shift by 1 to C-1 is added to
    the label, so a collision cannot happen and nothing needs redrawing; the released redraw always gives class C//2.

    Args:
        labels: True classes, in [0, num_classes).
        num_classes: C, at least 2.
        copies: Targets per label, at least 1.
        generator: Generator on the CPU.

    Returns:
        Targets on the device of ``labels``.

    Raises:
        ValueError: A label or a number is out of range.

    Example:
        >>> labels = torch.tensor([0, 1, 1])
        >>> targets = draw_targets(labels, 2, copies=1, generator=torch.Generator().manual_seed(0))
        >>> targets.tolist()
        [[1, 0, 0]]
    """
    if num_classes < 2:
        raise SettingsError(f"a wrong label needs at least two classes, got {num_classes}")
    if copies < 1:
        raise SettingsError(f"copies must be at least 1, got {copies}")
    if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < num_classes):
        raise ValueError(f"labels must be in 0 to {num_classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    shift = torch.randint(1, num_classes, (copies, len(labels)), generator=generator)
    return (labels + shift.to(labels.device)) % num_classes


def pgd_attack(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    targets: Int[Tensor, " n"],
    *,
    norm: Norm = "l2",
    eps: float,
    step_size: float,
    steps: int,
    generator: torch.Generator | None,
    batch_size: int = 256,
    advance: Callable[[int], None] | None = None,
) -> Float[Tensor, "n channels height width"]:
    """Return images moved until the model classifies them as ``targets``, within a ball around each and within [0, 1].

    One step on the perturbation (Madry et al., ICLR 2018; in the order of advertorch, which the released code of Cha et
    al. uses): g is the gradient of the cross-entropy with the target; delta goes down along g / |g|_2 (L2) or sign(g)
    (Linf) by ``step_size``; then it is clipped to the box and shrunk to the ball. A sample whose gradient is zero up to
    rounding is not moved. The model is evaluated and left unchanged: no parameter gets a gradient, no buffer
    changes. An example depends on its image, its target and its share of the generator's stream alone, not on
    the other images in its batch.

    Args:
        model: Classifier of images in [0, 1], with its normalisation inside; returns logits.
        images: Images in [0, 1].
        targets: Target class of each image.
        norm: Norm of the ball.
        eps: Radius of the ball, in units of pixel values.
        step_size: Length of a step, in the same units.
        steps: Number of steps.
        generator: Generator on the CPU for the random start: an image of uniform noise, shrunk to the ball. None starts
            at the image itself.
        batch_size: Images per forward pass.
        advance: Callback that receives the number of images after each batch.

    Returns:
        The moved images, in the type and on the device of ``images``.

    Raises:
        ValueError: Images leave [0, 1], counts differ, or a number is not positive.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> images, targets = torch.full((1, 1, 2, 2), 0.5), torch.tensor([1])
        >>> moved = pgd_attack(model, images, targets, eps=0.1, step_size=0.05, steps=5, generator=None)
        >>> round((moved - images).norm().item(), 3)
        0.1
    """
    if len(images) != len(targets):
        raise ValueError(f"one target for each image: got {len(targets)} for {len(images)}")
    for name, value in (("eps", eps), ("step_size", step_size), ("steps", steps), ("batch_size", batch_size)):
        if value <= 0:
            raise SettingsError(f"{name} must be positive, got {value}")
    if len(images) and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        raise SettingsError(
            f"images must lie in [0, 1], got {float(images.min()):g} to {float(images.max()):g}; "
            "move the normalisation into the model"
        )
    moved = []
    with evaluating(model):
        for begin in range(0, len(images), batch_size):
            image, target = images[begin : begin + batch_size], targets[begin : begin + batch_size]
            moved.append(_attack_batch(model, image, target, norm, eps, step_size, steps, generator))
            if advance is not None:
                advance(len(image))
    return torch.cat(moved) if moved else images.clone()


def attack_success(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    targets: Int[Tensor, " n"],
    batch_size: int = 256,
) -> Float[Tensor, " n"]:
    """Return 1 where the model classifies an image as its target, else 0.

    Args:
        model: Classifier, used in evaluation mode.
        images: Images, usually from :func:`pgd_attack`.
        targets: Target class of each image.
        batch_size: Images per forward pass.
    """
    with evaluating(model), torch.no_grad():
        pieces = [
            (model(images[begin : begin + batch_size]).argmax(dim=1) == targets[begin : begin + batch_size]).float()
            for begin in range(0, len(images), batch_size)
        ]
    return torch.cat(pieces) if pieces else torch.zeros(0, device=images.device)


def _attack_batch(
    model: nn.Module,
    images: Tensor,
    targets: Tensor,
    norm: Norm,
    eps: float,
    step_size: float,
    steps: int,
    generator: torch.Generator | None,
) -> Tensor:
    delta = torch.zeros_like(images)
    if generator is not None:
        noise = torch.rand(images.shape, generator=generator).to(images)
        delta = _into_box(images, _into_ball(noise - images, norm, eps))
    for _ in range(steps):
        delta.requires_grad_(True)
        # A sum, so that no sample's gradient depends on the size of the batch.
        loss = functional.cross_entropy(model(images + delta).float(), targets, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = delta.detach()
        size = _per_sample(torch.linalg.vector_norm(gradient.flatten(1), dim=1), gradient)
        direction = gradient / size.clamp_min(_TINY) if norm == "l2" else gradient.sign()
        delta = delta - step_size * torch.where(size < _NO_GRADIENT, torch.zeros_like(direction), direction)
        delta = _into_ball(_into_box(images, delta), norm, eps)
    return (images + delta).clamp(0, 1).detach()


def _into_box(images: Tensor, delta: Tensor) -> Tensor:
    return (images + delta).clamp(0, 1) - images


def _into_ball(delta: Tensor, norm: Norm, eps: float) -> Tensor:
    """Shrinking and clamping both move towards 0, so what was in the box stays there."""
    if norm == "linf":
        return delta.clamp(-eps, eps)
    size = _per_sample(torch.linalg.vector_norm(delta.flatten(1), dim=1), delta)
    return delta * (eps / size.clamp_min(_TINY)).clamp_max(1)


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))
