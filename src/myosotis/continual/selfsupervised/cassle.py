"""The distillation of CaSSLe: the loss of the base between a prediction and the past model's embedding."""

from collections.abc import Callable
from functools import partial
from typing import Literal, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.continual.selfsupervised.contrast import Pair, at_least_single
from myosotis.continual.selfsupervised.losses import negative_cosine, redundancy_reduction

Distillation = Literal["contrastive", "byol", "barlow", "vicreg"]


class DistillationOptions(TypedDict, total=False):
    """Weights of the loss of Barlow Twins as the form of a distillation."""

    off_diagonal: float
    scale: float


def cassle_loss(
    p: Pair,
    r: Pair,
    kind: Distillation,
    temperature: float = 0.2,
    *,
    off_diagonal: float = 5e-3,
    scale: float = 0.1,
) -> Float[Tensor, ""]:
    """Return the distillation of CaSSLe (Fini et al., CVPR 2022), without its weight.

    - ``"contrastive"``, for MoCo and SimCLR: cross-entropy of both directions over all 2B x 2B similarities.
    - ``"byol"``: ``½ sum over views of (2 - 2 cos)``.
    - ``"barlow"``: half the sum over views of the loss of Barlow Twins.
    - ``"vicreg"``: half the sum over views of the mean squared difference.

    Args:
        p: (batch, dim) predictions of each view.
        r: Embeddings of the past model, of the same views.
        kind: Form of the distillation, see above.
        temperature: Temperature of the contrastive form.
        off_diagonal: Weight in the loss of Barlow Twins, see :func:`~.losses.redundancy_reduction`.
        scale: Factor of the loss of Barlow Twins.
    """
    past = (r[0].detach(), r[1].detach())
    if kind == "contrastive":
        with torch.autocast(p[0].device.type, enabled=False):
            rows, columns = (functional.normalize(at_least_single(torch.cat(list(pair))), dim=1) for pair in (p, past))
            logits = rows @ columns.T / temperature
            diagonal = torch.arange(len(rows), device=rows.device)
            return (functional.cross_entropy(logits, diagonal) + functional.cross_entropy(logits.T, diagonal)) / 2
    if kind == "vicreg":
        with torch.autocast(p[0].device.type, enabled=False):
            parts = [
                functional.mse_loss(at_least_single(predicted), at_least_single(target))
                for predicted, target in zip(p, past, strict=True)
            ]
    else:
        distance: Callable[[Tensor, Tensor], Tensor] = negative_cosine
        if kind == "barlow":
            distance = partial(redundancy_reduction, off_diagonal=off_diagonal, scale=scale)
        parts = [distance(predicted, target) for predicted, target in zip(p, past, strict=True)]
    return (parts[0] + parts[1]) / 2
