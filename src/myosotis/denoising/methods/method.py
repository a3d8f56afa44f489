"""What the denoising methods have in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from myosotis.denoising.channel import Channel, Symbols
from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.counted_rules import symbol_counts, unchanged_loss
from myosotis.denoising.heads import HeadName
from myosotis.denoising.mappings import head_estimate
from myosotis.denoising.neural import NeuralDenoiser
from myosotis.denoising.passes import ADAPT, Passes
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard

_NEURAL_LINE, _NEURAL_PLANE = Context1d(10), Context2d(24)


@dataclass(frozen=True)
class NoisyData:
    """Noisy symbols, and everything that a method may use to denoise them.

    Attributes:
        noisy: Symbols along a line or on a plane.
        channel: The noise, given or estimated.
        context: The context; None where the method chooses.
        model: A denoiser that was trained with clean symbols, for methods that need one.
        passes: Length of the training of networks; None for the default of the method.
        lengths: Lengths of sequences that stand one after another.
        seed: Seed of networks.
        device: Device of networks that are made here.
    """

    noisy: Symbols
    channel: Channel
    context: Context | None = None
    model: NeuralDenoiser | None = None
    passes: Passes | None = None
    lengths: Sequence[int] | None = None
    seed: int = 0
    device: torch.device | str = "cpu"

    def network(self, head: HeadName | None = None) -> NeuralDenoiser:
        """Return the model, or a new denoiser with the context, of fixed size unless given.

        Args:
            head: Head of a new denoiser; the default of its alphabet unless given.
        """
        if self.model is not None:
            return self.model
        context = self.context or (_NEURAL_LINE if self.noisy.ndim == 1 else _NEURAL_PLANE)
        return NeuralDenoiser(self.channel.outputs, context, head=head, seed=self.seed, device=self.device)

    def loss_as_seen(self) -> float:
        """Return the estimated loss of leaving every symbol as it is."""
        return loss_as_seen(symbol_counts(self.noisy, self.channel.outputs), self.channel)


def loss_as_seen(counts: NDArray[np.int64], channel: Channel) -> float:
    """Return the estimated loss of leaving every symbol as it is.

    Args:
        counts: Number of each symbol.
        channel: The noise.

    Raises:
        SettingsError: Noisy symbols are not among the clean ones.
    """
    if channel.inputs != channel.outputs:
        raise SettingsError("noisy symbols cannot be kept: the channel has more of them than clean ones")
    return float(unchanged_loss(head_estimate(channel)) @ counts / counts.sum())


@dataclass(frozen=True)
class MethodOutput:
    """The output of a method.

    Attributes:
        symbols: Denoised symbols.
        estimated_loss: Their estimated loss; None where no honest estimate can be made.
        context: The context; None where there is none.
        compared: Estimated losses of the contexts that it was chosen from; empty where it was given.
        warnings: Sentences for the reader.
        standard_error: Standard error of what the estimate says was gained; None where it is not known.
        conservative: Whether the estimate is that of rules which learnt from fewer symbols, and gain less as a rule.
    """

    symbols: Symbols
    estimated_loss: float | None
    context: Context | None = None
    compared: dict[Context, float] | None = None
    warnings: tuple[str, ...] = ()
    standard_error: float | None = None
    conservative: bool = False


class DenoisingMethod(ABC):
    """A way to denoise symbols; subclasses are frozen dataclasses of its settings."""

    card: ClassVar[MethodCard]
    has_context: ClassVar[bool] = True
    """Whether it reads the symbols around each symbol."""
    needs_model: ClassVar[bool] = False
    """Whether it needs a denoiser that was trained with clean symbols."""
    makes_passes: ClassVar[bool] = False
    """Whether it learns from the noisy symbols by passes over them."""
    passes: ClassVar[Passes] = ADAPT
    """Length of the training of networks by default."""

    @abstractmethod
    def denoise(self, data: NoisyData) -> MethodOutput:
        """Return denoised symbols.

        Raises:
            SettingsError: The method does not suit the data.
        """
