"""What an audit is asked for: names and limits, without the libraries that measure."""

from dataclasses import dataclass
from typing import Literal, get_args

Score = Literal["loss", "zlib", "reference", "grad_norm", "min_k", "min_k_plus_plus"]

SCORES: tuple[Score, ...] = get_args(Score)
"""Scores of membership inference."""

StopFigure = Literal["probability", "top5", "extraction_strength", "memorization_accuracy", "extraction_likelihood"]

STOP_FIGURES: tuple[StopFigure, ...] = get_args(StopFigure)
"""The figures of the verdict that need no generated answers, which would be costly after every epoch."""

Criterion = Literal["harmonic", "forgotten_first"]
"""Score of an epoch, see :class:`~myosotis.unlearning.language.training.selection.Selection`."""


@dataclass(frozen=True)
class VerdictSettings:
    """What counts as forgotten and as kept.

    Attributes:
        confidence: Level of every interval and test; that of each end of an interval of a difference.
        margin: Largest share of what had been learnt that may be left, or be missing, in a forgotten record.
        kept_share: Smallest share of what was known of held-out records that counts as kept.
        max_hurt_share: Largest share of held-out subjects that may have lost something.
        perplexity_ratio: Largest ratio of the perplexity of general text to that before.
    """

    confidence: float = 0.95
    margin: float = 0.2
    kept_share: float = 0.95
    max_hurt_share: float = 0.15
    perplexity_ratio: float = 1.15
