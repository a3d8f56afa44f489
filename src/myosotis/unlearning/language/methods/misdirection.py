"""RMU: steer the hidden states of the forget set in a random direction, retain those of the retain set."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.encoding import IGNORED
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import Needs, Side, Sides, Term


def steering_vector(width: int, coefficient: float, seed: int = 0) -> Float[Tensor, " width"]:
    r"""Return $c\,u$ with u uniform in $[0, 1]^d$, normalised: the target of the hidden states.

    Args:
        width: Width of the hidden states.
        coefficient: Length of the vector.
        seed: Seed of the direction.

    Example:
        >>> round(steering_vector(16, coefficient=6.5).norm().item(), 4)
        6.5
    """
    direction = torch.rand(width, generator=generator(seed, "steering"))
    scaled: Tensor = coefficient * direction / direction.norm()
    return scaled


def squared_distance(
    hidden: Float[Tensor, "batch time width"],
    target: Float[Tensor, "batch time width"] | Float[Tensor, " width"],
    labels: Int[Tensor, "batch time"],
) -> Float[Tensor, "batch time"]:
    """Return the mean squared difference over the width at every labelled position, 0 at ignored ones.

    Example:
        >>> squared_distance(torch.ones(1, 2, 4), torch.zeros(4), torch.tensor([[7, -100]]))
        tensor([[1., 0.]])
    """
    distance = (hidden.float() - target.float()).square().mean(dim=-1)
    return distance.masked_fill(labels == IGNORED, 0.0)


def _hidden(side: Side, block: int, *, before: bool = False) -> Tensor:
    states = side.reference_hidden if before else side.hidden
    if block not in states:
        raise ValueError(f"this loss reads the output of block {block}, but the batch has none")
    return states[block]


@dataclass(frozen=True)
class RMU(Method):
    r"""Misdirection of the forget set's hidden states, retention of the retain set's.

    $$L = \overline{\lVert h_l(x_f) - c\,u \rVert^2 / d} + \alpha\,
    \overline{\lVert h_l(x_r) - h^0_l(x_r) \rVert^2 / d}$$

    Attributes:
        retain: ``"hidden"`` as in the paper, ``"nll"``, ``"kl"`` or None.
        block: Block l whose output is steered, counted from 0; not the last one.
        coefficient: Coefficient c, of the order of the hidden states' norm.
        steering_seed: Seed of the direction u.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="rmu",
        title="Representation misdirection (RMU)",
        paper="Li et al., The WMDP Benchmark: Measuring and Reducing Malicious Use with Unlearning, ICML 2024",
        reads="forget, retain",
        memory="the old model's hidden states at the labelled retain tokens that will be drawn",
        purpose="Remove a domain of knowledge rather than single records; the usual choice for hazardous knowledge.",
    )
    term: ClassVar[str] = "forget_misdirection"
    retain_choices: ClassVar[tuple[str | None, ...]] = (None, "hidden", "nll", "kl")

    retain: Literal["hidden", "nll", "kl"] | None = "hidden"  # type: ignore[assignment]
    block: int = field(default=7, kw_only=True)
    coefficient: float = field(default=20.0, kw_only=True)
    steering_seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.block < 0 or not self.coefficient > 0:
            raise ValueError("block must be >= 0 and coefficient > 0")

    @property
    def blocks(self) -> tuple[int, ...]:
        return (self.block,)

    def losses(self, sides: Sides) -> Tensor:
        hidden = _hidden(sides.forget, self.block)
        target = steering_vector(hidden.shape[-1], self.coefficient, self.steering_seed).to(hidden.device)
        return squared_distance(hidden, target, sides.forget.labels)

    def retain_term(self) -> Term | None:
        """Return the term on hidden states, or another retain term that was asked for."""
        if self.retain != "hidden":
            return super().retain_term()
        needs: Needs = frozenset({("retain", "hidden")})
        return Term("retain_hidden", self._retained, "retain", needs=needs, blocks=self.blocks)

    def _retained(self, sides: Sides) -> Tensor:
        side = sides.the("retain")
        return squared_distance(_hidden(side, self.block), _hidden(side, self.block, before=True), side.labels)
