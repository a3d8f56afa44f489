"""Distillation of logits, feature maps and features from the old network."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def distillation(
    logits: Float[Tensor, "n classes"], old_logits: Float[Tensor, "n classes"], temperature: float = 2.0
) -> Float[Tensor, ""]:
    """Return the cross-entropy between softened predictions (Hinton, Vinyals, Dean, 2015).

    ``-mean_n sum_c softmax(old / T)_c log softmax(new / T)_c``, over the given classes: slice the new logits
    to those that the old network knows before the softmax, not after it.

    Args:
        logits: Logits of the network in training.
        old_logits: Logits of the old network.
        temperature: Temperature T of the distillation.

    Example:
        >>> round(distillation(torch.tensor([[1.0, 2.0, 0.5]]), torch.tensor([[2.0, 1.0, 0.0]]), 2.0).item(), 6)
        1.124821
    """
    target = (old_logits / temperature).softmax(dim=1)
    return -(target * (logits / temperature).log_softmax(dim=1)).sum(dim=1).mean()


def proportional_distillation(
    logits: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    old_logits: Float[Tensor, "n known"] | None,
    temperature: float = 2.0,
) -> dict[str, Tensor]:
    """Return ``(1 - λ) CE(z, y)`` and ``λ KD_T(z_old, z')`` with λ the share of old classes, as in BiC and WA.

    Args:
        logits: Logits of the network in training.
        labels: y.
        old_logits: Logits of the old network; None in the first task, which has the cross-entropy only.
        temperature: Temperature T of the distillation.

    Example:
        >>> z, old = torch.zeros(1, 4), torch.zeros(1, 3)
        >>> {name: round(term.item(), 4) for name, term in proportional_distillation(z, torch.tensor([3]), old).items()}
        {'cross_entropy': 0.3466, 'distillation': 0.824}
    """
    cross_entropy = functional.cross_entropy(logits, labels)
    if old_logits is None:
        return {"cross_entropy": cross_entropy}
    known = old_logits.shape[1]
    share = known / logits.shape[1]
    retained = distillation(logits[:, :known], old_logits, temperature)
    return {"cross_entropy": (1 - share) * cross_entropy, "distillation": share * retained}


def task_distillation(
    logits: Float[Tensor, "n classes"],
    old_logits: Float[Tensor, "n classes"],
    sizes: Sequence[int],
    temperature: float = 2.0,
) -> Float[Tensor, ""]:
    """Return the sum over tasks of the divergence within each task's classes, times T² (Ahn et al., SS-IL, ICCV 2021).

    Args:
        logits: Logits of the network in training, for the classes of these tasks.
        old_logits: Logits of the old network for the same classes.
        sizes: Number of classes of each task.
        temperature: Temperature T of the distillation.
    """
    parts = [
        functional.kl_div(
            (new / temperature).log_softmax(dim=1),
            (old / temperature).log_softmax(dim=1),
            reduction="batchmean",
            log_target=True,
        )
        for new, old in zip(logits.split(list(sizes), dim=1), old_logits.split(list(sizes), dim=1), strict=True)
    ]
    return torch.stack(parts).sum() * temperature**2


def pod_vector(maps: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n pooled"]:
    """Return the normalised sums over the width and over the height of the squared map, concatenated.

    POD-spatial of PODNet (Douillard et al., ECCV 2020).

    Example:
        >>> [round(value, 4) for value in pod_vector(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])).tolist()[0]]
        [0.0591, 0.7687, 0.2365, 0.5913]
    """
    squared = maps.square()
    pooled = torch.cat([squared.sum(dim=3).flatten(1), squared.sum(dim=2).flatten(1)], dim=1)
    return functional.normalize(pooled, dim=1)


def pod_spatial(maps: Sequence[Tensor], old_maps: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return the mean distance between the pooled maps of two networks (PODNet).

    Args:
        maps: Feature maps of each stage, (n, channels, height, width).
        old_maps: Feature maps of the old network.
    """
    distances = [
        torch.linalg.vector_norm(pod_vector(new) - pod_vector(old), dim=1).mean()
        for new, old in zip(maps, old_maps, strict=True)
    ]
    return torch.stack(distances).mean()


def feature_distance(features: Float[Tensor, "n features"], old: Float[Tensor, "n features"]) -> Float[Tensor, ""]:
    """Return one minus the mean cosine (less-forget of LUCIR, POD-flat of PODNet)."""
    return 1 - functional.cosine_similarity(features, old, dim=1).mean()
