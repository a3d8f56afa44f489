"""Gradients that do not work against each other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def project_conflict(forget: Sequence[Tensor], retain: Sequence[Tensor]) -> list[Tensor]:
    r"""Return the forget gradient without what of it works against the retain gradient.

    $$\tilde g_f = g_f - \frac{\min(0, \langle g_f, g_r \rangle)}{\lVert g_r \rVert^2}\, g_r$$

    the nearest vector to the forget gradient with a non-negative inner product with the retain gradient: to first
    order the step that it makes does not raise the retain loss (Wang et al., "GRU: Mitigating the Trade-off between
    Unlearning and Retention for LLMs", ICML 2025). Inner product and norm are those of all parameters together. The
    paper keeps a running mean of the retain gradient; here it is that of the step at hand.

    Args:
        forget: The gradient, one tensor per parameter.
        retain: Likewise.

    Returns:
        New tensors of the same shapes; copies of ``forget`` where there is no conflict.

    Raises:
        ValueError: The numbers of tensors differ.

    Example:
        >>> project_conflict([torch.tensor([1.0, -1.0])], [torch.tensor([0.0, 2.0])])
        [tensor([1., 0.])]
    """
    if len(forget) != len(retain):
        raise ValueError(f"expected as many retain as forget gradients, got {len(retain)} and {len(forget)}")

    def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
        products = [(a.double() * b.double()).sum() for a, b in zip(left, right, strict=True)]
        return torch.stack(products).sum()

    along = inner(forget, retain).clamp(max=0) / inner(retain, retain).clamp(min=torch.finfo(torch.float64).tiny)
    return [f - along.to(f.dtype) * r for f, r in zip(forget, retain, strict=True)]
