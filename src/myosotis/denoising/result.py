"""``result.json`` of ``denoise-train``."""

from typing import Literal

from myosotis.engine.result import Cost, Result, ResultPart
from myosotis.evaluation.learning import LearningVerdict


class SymbolCounts(ResultPart):
    """Numbers of clean symbols."""

    train: int
    """Symbols that the denoiser learnt from."""
    held_out: int
    """Symbols that it was measured with."""


class ErrorRates(ResultPart):
    """Error rates on held-out symbols at one noise."""

    noise: str
    """Rate of the noise, or ``as trained``."""
    raw: float
    """Share of wrong symbols before denoising."""
    error: float
    """Share of wrong symbols after it."""


class DenoiserResult(Result):
    """Result of ``denoise-train``."""

    kind: Literal["denoise-train"]
    names: list[str]
    """Names of the symbols."""
    context: int
    """Symbols of a context."""
    head: str
    """Head of the network."""
    symbols: SymbolCounts
    """Numbers of clean symbols."""
    measured: list[ErrorRates]
    """Error rates on held-out symbols."""
    verdict: LearningVerdict | None = None
    """Whether fewer symbols are wrong after denoising than before, at the first of these noises."""
    cost: Cost
    """What it cost."""
