"""Projection of the forget gradient so that it does not oppose the retain gradient."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def project_conflict(forget: Sequence[Tensor], retain: Sequence[Tensor]) -> list[Tensor]:
    r"""Return the forget gradient without the part that opposes the retain gradient.

    $$\tilde g_f = g_f - \frac{\min(0, \langle g_f, g_r \rangle)}{\lVert g_r \rVert^2}\, g_r$$

    It is the nearest vector to the forget gradient with a non-negative inner product with the retain gradient: to first
    order a step along it does not raise the retain loss (Wang et al., "GRU: Mitigating the Trade-off between
    Unlearning and Retention for LLMs", ICML 2025). Inner product and norm are those of all parameters together. The
    paper keeps a running mean of the retain gradient; here it is that of the current step.

    Args:
        forget: Forget gradient, one tensor per parameter.
        retain: Retain gradient, one tensor per parameter.

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


class ProjectedGradients:
    """Sums the gradients of forget and retain terms over a step's micro-batches and projects them at its end."""

    def __init__(self) -> None:
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, side: str, loss: Tensor, parameters: Sequence[Tensor], *, retain_graph: bool) -> None:
        """Add the gradient of a micro-batch's loss.

        Args:
            side: ``"forget"`` or ``"retain"``.
            loss: Scalar loss.
            parameters: Parameters to differentiate; the same in every call.
            retain_graph: Whether another loss of the same forward pass follows.
        """
        gradients = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
        new = [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, parameters, strict=True)]
        sums = self._sums.get(side)
        self._sums[side] = new if sums is None else [a.add_(b) for a, b in zip(sums, new, strict=True)]

    def finish(self, reduce: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return the projected forget gradient plus the retain gradient, and reset the sums.

        Args:
            reduce: Sums a gradient over all processes.
        """
        forget, retain = ([reduce(gradient) for gradient in self._sums.pop(side)] for side in ("forget", "retain"))
        return [f + r for f, r in zip(project_conflict(forget, retain), retain, strict=True)]
