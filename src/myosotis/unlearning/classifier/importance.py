"""How much each weight matters for the instances to be forgotten, and the penalty that holds the others in place."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from myosotis.engine.errors import SettingsError
from myosotis.models.modes import evaluating

Reduction = Literal["per_sample", "batch"]

_BATCH = 32
"""The forget batch of Cha et al.; with ``reduction="batch"`` the result depends on it."""

_MAX_GRADIENT_VALUES = 100_000_000
"""How many numbers the gradients of a chunk of samples may hold together: 400 MB in float32."""


def weight_importance(
    model: nn.Module,
    images: Float[Tensor, "n channels height width"],
    reduction: Reduction = "per_sample",
    *,
    batch_size: int = _BATCH,
) -> dict[str, Tensor]:
    r"""Return how *un*\ important each weight is for ``images``: in each tensor 1 is frozen, 0 free.

    Memory-aware synapses (Aljundi et al., ECCV 2018) on the forget set alone, as in Cha et al. (AAAI 2024):
    Omega_i is the mean of \|d \|g(x)\|_2 / d theta_i\|, the sensitivity of the norm of the logits, which needs no
    labels; then 1 - (Omega - min) / (max - min) within each tensor, so that what matters for these images may move and
    the rest is held.

    ``"per_sample"`` takes absolute values sample by sample, so neither batch size nor order counts. ``"batch"`` takes
    them of each batch's mean gradient, as the released code does, where opposite signs cancel. (That code also adds up
    the gradients of earlier batches, as it zeroes those of another model; this is not followed.)

    Args:
        model: Classifier, used in evaluation mode and left unchanged.
        images: Images of the forget set.
        reduction: Order of mean and absolute value, see above.
        batch_size: Images per batch, for ``"batch"``.

    Returns:
        Importance of every trained parameter by name. A tensor whose weights are all equally sensitive is all 1.

    Raises:
        ValueError: There is no image or no trained parameter.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
        >>> importance = weight_importance(model, torch.rand(3, 1, 1, 2))
        >>> float(importance["1.weight"].min()), float(importance["1.weight"].max())
        (0.0, 1.0)
    """
    if not len(images):
        raise SettingsError("the importance of weights needs at least one image")
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    if not parameters:
        raise SettingsError("no parameter of the model is trained")
    fixed = {name: value.detach() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    with evaluating(model), torch.no_grad():
        if reduction == "per_sample":
            total = _per_sample(model, parameters, fixed, images)
        else:
            total = _per_batch(model, parameters, fixed, images, batch_size)
    return {name: _held(value).to(parameters[name].dtype) for name, value in total.items()}


def importance_penalty(
    params: Mapping[str, Tensor], anchors: Mapping[str, Tensor], importance: Mapping[str, Tensor], strength: float
) -> Float[Tensor, ""]:
    """Return (strength / 2) times the sum over all weights of importance times squared distance from the anchor.

    Its gradient is strength * importance * (theta - anchor); at the anchor both are exactly 0.

    Args:
        params: Present weights by name; needs every name of ``importance``.
        anchors: Weights that they are held at.
        importance: Importances in [0, 1], see :func:`weight_importance`.
        strength: lambda, at least 0.

    Raises:
        ValueError: ``strength`` is negative, or there is nothing to penalise.

    Example:
        >>> weights, anchors = {"w": torch.tensor([1.0, -2.0])}, {"w": torch.tensor([0.0, -1.0])}
        >>> importance_penalty(weights, anchors, {"w": torch.tensor([0.0, 0.25])}, 3.0).item()
        0.375
    """
    if strength < 0:
        raise SettingsError(f"strength must be at least 0, got {strength}")
    if not importance:
        raise SettingsError("no weight to penalise")
    parts = [(held * (params[name] - anchors[name]).square()).sum() for name, held in importance.items()]
    return strength / 2 * torch.stack(parts).sum()


def _norm_of_logits(
    model: nn.Module, parameters: Mapping[str, Tensor], fixed: Mapping[str, Tensor], images: Tensor
) -> Tensor:
    logits = functional_call(model, {**fixed, **parameters}, (images,))
    size: Tensor = torch.linalg.vector_norm(logits.float(), dim=1).mean()
    return size


def _per_sample(
    model: nn.Module, parameters: Mapping[str, Tensor], fixed: Mapping[str, Tensor], images: Tensor
) -> dict[str, Tensor]:
    def of_one(values: Mapping[str, Tensor], image: Tensor) -> Tensor:
        return _norm_of_logits(model, values, fixed, image.unsqueeze(0))

    gradients = vmap(grad(of_one), in_dims=(None, 0))
    numbers = sum(value.numel() for value in parameters.values())
    chunk = max(1, _MAX_GRADIENT_VALUES // numbers)
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in parameters.items()}
    for begin in range(0, len(images), chunk):
        for name, values in gradients(parameters, images[begin : begin + chunk]).items():
            total[name] += values.float().abs().sum(dim=0)
    return {name: value / len(images) for name, value in total.items()}


def _per_batch(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    fixed: Mapping[str, Tensor],
    images: Tensor,
    batch_size: int,
) -> dict[str, Tensor]:
    of_batch = grad(lambda values, batch: _norm_of_logits(model, values, fixed, batch))
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in parameters.items()}
    for begin in range(0, len(images), batch_size):
        batch = images[begin : begin + batch_size]
        for name, value in of_batch(parameters, batch).items():
            total[name] += len(batch) * value.float().abs()
    return {name: value / len(images) for name, value in total.items()}


def _held(sensitivity: Tensor) -> Tensor:
    """1 minus the sensitivity, stretched to [0, 1] within the tensor."""
    low, high = sensitivity.min(), sensitivity.max()
    if not bool(high > low):
        return torch.ones_like(sensitivity)
    return 1 - (sensitivity - low) / (high - low)
