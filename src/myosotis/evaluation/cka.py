"""Similarity of representations."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.models.modes import evaluating


def linear_cka(a: Float[Tensor, "n p"], b: Float[Tensor, "n q"]) -> float:
    """Return the linear centred kernel alignment of two representations of the same samples.

    Kornblith et al. (ICML 2019): |A^T B|_F^2 / (|A^T A|_F |B^T B|_F) with centred columns. 1: equal up to rotation and
    scale; 0: unrelated. With few samples against many features it is near 1 for anything; use several hundred.

    Args:
        a: Features of n samples.
        b: Other features of the same samples, in the same order.

    Raises:
        ValueError: The numbers of samples differ or are below 2, or a representation is constant.

    Example:
        >>> features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0]])
        >>> round(linear_cka(features, 3 * features.flip(1)), 6)
        1.0
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"expected the same two or more samples on both sides, got {len(a)} and {len(b)}")
    x, y = (side.double() - side.double().mean(dim=0) for side in (a, b))
    if x.shape[1] > len(x) or y.shape[1] > len(y):
        # The same by the Gram matrices of the samples, which are smaller here.
        first, second = x @ x.T, y @ y.T
        shared = (first * second).sum()
        scale = torch.linalg.matrix_norm(first) * torch.linalg.matrix_norm(second)
    else:
        shared = torch.linalg.matrix_norm(x.T @ y).square()
        scale = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    if not bool(scale > 0):
        raise ValueError("a representation is the same for every sample")
    return float(shared / scale)


@torch.no_grad()
def layer_features(
    model: nn.Module, images: Float[Tensor, "n channels height width"], layers: Sequence[str], batch_size: int = 256
) -> dict[str, Float[Tensor, "n features"]]:
    """Return the outputs of named modules, averaged over all positions of an image or a sequence.

    Args:
        model: Model, used in evaluation mode.
        images: Input images.
        layers: Names as in ``model.named_modules()``.
        batch_size: Images per forward pass.

    Raises:
        ValueError: There is no such module.
    """
    modules = dict(model.named_modules())
    for name in layers:
        if name not in modules:
            raise ValueError(f"the model has no layer '{name}'")
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def store(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        # Both (n, channels, height, width) and (n, tokens, features) are averaged; (n, features) stays.
        mean = output.flatten(2).mean(dim=2) if output.ndim == 4 else output.mean(dim=1) if output.ndim == 3 else output
        outputs[name].append(mean.float().cpu())

    hooks = [modules[name].register_forward_hook(partial(store, name)) for name in layers]
    try:
        with evaluating(model):
            for begin in range(0, len(images), batch_size):
                model(images[begin : begin + batch_size])
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(pieces) for name, pieces in outputs.items()}


def layer_cka(
    first: nn.Module,
    second: nn.Module,
    images: Float[Tensor, "n channels height width"],
    layers: Iterable[str],
    measure: Callable[[Tensor, Tensor], float] = linear_cka,
) -> dict[str, float]:
    """Return the similarity of two models of one architecture, layer by layer.

    Args:
        first: First model.
        second: Second model, with the same layers.
        images: Input images of both.
        layers: Names as in ``named_modules()``.
        measure: Measure of similarity.
    """
    names = list(layers)
    a, b = (layer_features(model, images, names) for model in (first, second))
    return {name: measure(a[name], b[name]) for name in names}
