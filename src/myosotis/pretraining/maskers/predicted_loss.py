"""Masking guided by the loss that a teacher predicts (HPM)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.pretraining.maskers.masker import Guide, Masker, Momentum, Part, required, uniform
from myosotis.pretraining.token_mask import TokenMask, mask_from_scores, visible_count


@dataclass(frozen=True)
class PredictedLossSettings:
    """Settings of masking by predicted losses.

    Attributes:
        begin: Share of the hidden tokens that are chosen for their predicted loss, at the beginning of the training.
        end: The same share at its end; it grows linearly. The others are drawn.
        momentum: Momentum of the teacher.
    """

    begin: Part = 0.0
    end: Part = 0.5
    momentum: Momentum = 0.999


class PredictedLossMasker(Masker[PredictedLossSettings]):
    """A second decoder learns which hidden patches are hard; a teacher's prediction on the whole image decides."""

    card = MethodCard(
        name="predicted_loss",
        title="Hard patches mining (HPM)",
        paper=("Wang, Song, Fan, Wang, Xie, Zhang: Hard Patches Mining for Masked Image Modeling, CVPR 2023"),
        reads="images",
        memory="a second decoder, and a copy of the model that reads whole images",
        purpose="Masking guided by difficulty; the most expensive masker.",
    )
    Settings = PredictedLossSettings

    @property
    def guide(self) -> Guide | None:
        return "predicted_loss"

    @property
    def teacher_momentum(self) -> float:
        return self.settings.momentum

    def __call__(
        self,
        tokens: Tensor,
        *,
        ratio: float,
        progress: float = 1.0,
        generator: torch.Generator,
        predicted_loss: Tensor | None = None,
        **_: Any,
    ) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        losses, settings = required(predicted_loss, "predicted_loss"), self.settings
        scores = uniform(tokens, generator)
        hidden = tokens.shape[1] - visible_count(tokens.shape[1], ratio)
        chosen = int((settings.begin + (settings.end - settings.begin) * progress) * hidden)
        if chosen:
            scores = scores.scatter(1, losses.topk(chosen, dim=1).indices, torch.inf)
        return mask_from_scores(scores, ratio, losses)
