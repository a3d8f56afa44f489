"""LUMP: current samples mixed with remembered ones."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pydantic import PositiveFloat
from torch import Tensor

from myosotis.continual.selfsupervised.bases.base import Step
from myosotis.continual.selfsupervised.contrast import Pair
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class LUMPSettings:
    """Settings of LUMP.

    Attributes:
        alpha: Parameter of the Beta distribution of the share of the current sample, drawn once per batch.
    """

    alpha: PositiveFloat = 0.4


class LUMP(SslLearner[LUMPSettings]):
    """The base's loss on ``s x + (1 - s) b``, s from Beta(α, α); both views are mixed with views of the same sample b.

    Views of remembered samples are drawn anew each time; the released code reuses the stored view.
    """

    card = MethodCard(
        "lump",
        "LUMP",
        "Madaan, Yoon, Li, Liu, Hwang, ICLR 2022",
        "current task, memory",
        "stored samples",
        "Mixup with a small memory.",
    )
    Settings = LUMPSettings
    reads_memory = True
    mixes = True
    keeps_past = False

    def mixed(self, batch: SslBatch) -> tuple[Pair, Int[Tensor, " n"]]:
        """Return mixtures of current samples and equally many remembered ones."""
        if batch.memory_views is None:
            return batch.views, batch.samples
        alpha = self.settings.alpha
        share = float(np.random.default_rng(batch.seed).beta(alpha, alpha))
        first, second = (
            share * own + (1 - share) * old for own, old in zip(batch.views, batch.memory_views, strict=True)
        )
        return (first, second), batch.samples

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        return {"ssl": self.base.loss(step)}
