"""The base class of maskers."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device
from myosotis.pretraining.token_mask import TokenMask

SettingsT = TypeVar("SettingsT")
Guide = Literal["attention", "predicted_loss"]
Pool = Callable[[Tensor], Tensor]
Part = Annotated[float, Field(ge=0, le=1)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
"""Ranges of settings, checked where a configuration is read."""


@dataclass(frozen=True)
class NoSettings:
    """Settings of maskers that have none."""


class Masker(ABC, Generic[SettingsT]):
    """A choice of hidden tokens; it has no state, so that a mask depends on its arguments alone.

    Args:
        settings: An instance of :attr:`Settings`.
    """

    card: ClassVar[MethodCard]
    Settings: ClassVar[type]
    reads_tokens: ClassVar[bool] = False
    """Whether it reads the embedded patches."""

    def __init__(self, settings: SettingsT) -> None:
        self.settings = settings

    @property
    def features(self) -> str:
        """The tokens that it reads: by default the input of the first block; see :class:`.SalienceSettings`."""
        return "embed"

    @property
    def guide(self) -> Guide | None:
        """The guidance that it needs of a teacher, a moving average of the trained network."""
        return None

    @property
    def teacher_momentum(self) -> float:
        """Momentum of the teacher: the share of its own weights that it keeps in a step."""
        raise NotImplementedError(f"masker '{self.card.name}' has no teacher")

    def ratio_range(self, ratio: float) -> tuple[float, float]:
        """Return the smallest and the largest ratio that an image may get where ``ratio`` is requested."""
        return ratio, ratio

    def guide_statistics(self, guide: Float[Tensor, "batch tokens"]) -> dict[str, Tensor]:  # noqa: ARG002 - a default
        """Return scalars to log of what guided the masks of a batch, by name; none by default."""
        return {}

    def hide_units(
        self, tokens: Float[Tensor, "batch tokens dim"], pool: Pool, *, grid: tuple[int, int], **arguments: Any
    ) -> TokenMask:
        """Return the hidden mask units where a unit holds several of the tokens that the masker reads.

        By default each unit is read as the mean of its tokens.

        Args:
            tokens: Tokens as for :meth:`__call__`.
            pool: Sums values of tokens, (batch, tokens, ...), over mask units.
            grid: Rows and columns of mask units.
            arguments: The other arguments of :meth:`__call__`.
        """
        pooled = pool(tokens)
        return self(pooled * (pooled.shape[1] / tokens.shape[1]), grid=grid, **arguments)

    @abstractmethod
    def __call__(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        *,
        grid: tuple[int, int],
        ratio: float,
        progress: float = 1.0,
        generator: torch.Generator,
        attention: Float[Tensor, "batch tokens"] | None = None,
        predicted_loss: Float[Tensor, "batch tokens"] | None = None,
    ) -> TokenMask:
        """Return the mask.

        Args:
            tokens: The tokens that :attr:`features` names, by default the input of the first block: embedded patches
                with their positions, without prefix tokens. Maskers that do not read them take number and device from
                here.
            grid: Rows and columns of tokens.
            ratio: Share of hidden tokens.
            progress: Share of the training that is done, in [0, 1].
            generator: Source of all randomness, on the CPU.
            attention: Attention of a teacher, for maskers with this :attr:`guide`.
            predicted_loss: Losses that a teacher predicts, for maskers with this :attr:`guide`.
        """


def uniform(tokens: Tensor, generator: torch.Generator) -> Float[Tensor, "batch tokens"]:
    """Return a number in [0, 1) for each token, drawn on the CPU, on the device of the tokens."""
    return to_device(torch.rand(tokens.shape[:2], generator=generator), tokens.device)


def required(guide: Tensor | None, name: Guide) -> Tensor:
    """Return the teacher's guidance, or raise ``ValueError`` if it is missing."""
    if guide is None:
        raise ValueError(f"this masker needs '{name}'")
    return guide
