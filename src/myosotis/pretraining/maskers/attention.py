"""Masking guided by attention (AttMask)."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.pretraining.maskers.masker import Guide, Masker, Momentum, required, uniform
from myosotis.pretraining.token_mask import TokenMask, mask_from_hidden, mask_from_scores

_HINT = 0.1


@dataclass(frozen=True)
class AttentionSettings:
    """Settings of masking by attention.

    Attributes:
        mode: ``"high"`` hides the tokens that are attended to most; ``"low"`` the least; ``"hint"`` most, and shows
            some of the very first again.
        momentum: Momentum of the teacher.
    """

    mode: Literal["high", "low", "hint"] = "high"
    momentum: Momentum = 0.996


class AttentionMasker(Masker[AttentionSettings]):
    """The attention of a teacher's class token to the whole image, in the last block, decides.

    AttMask was made for self-distillation with ratios drawn from [0.1, 0.5]; here it hides the ratio that is asked for.
    ``hint`` shows a share of 0.1 r of all tokens again, drawn among the tenth that is attended to most, so that fewer
    than r are hidden; the released code draws a second r for it.
    """

    card = MethodCard(
        name="attention",
        title="Attention-guided masking (AttMask)",
        paper=(
            "Kakogeorgiou, Gidaris, Psomas, Avrithis, Bursuc, Karantzalos, Komodakis: What to Hide from Your Students: "
            "Attention-Guided Masked Image Modeling, ECCV 2022"
        ),
        reads="images",
        memory="a copy of the network; its encoder reads whole images",
        purpose="Masking guided by the network's own attention; costs a forward pass of all tokens.",
    )
    Settings = AttentionSettings

    @property
    def guide(self) -> Guide | None:
        return "attention"

    @property
    def teacher_momentum(self) -> float:
        return self.settings.momentum

    def ratio_range(self, ratio: float) -> tuple[float, float]:
        """Return the smallest and the largest ratio that an image may get."""
        return (ratio * (1 - _HINT) if self.settings.mode == "hint" else ratio), ratio

    def __call__(
        self,
        tokens: Tensor,
        *,
        ratio: float,
        generator: torch.Generator,
        attention: Tensor | None = None,
        **_: Any,
    ) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        weights = required(attention, "attention")
        mask = mask_from_scores(-weights if self.settings.mode == "low" else weights, ratio, weights)
        if self.settings.mode != "hint":
            return mask
        count = tokens.shape[1]
        shown, first = int(_HINT * ratio * count), int(_HINT * count)
        if not shown:
            return mask
        top = weights.topk(first, dim=1).indices
        drawn = uniform(top, generator).argsort(dim=1)[:, :shown]
        hidden = mask.hidden.scatter(1, top.gather(1, drawn), value=False)
        again = mask_from_hidden(hidden)
        return replace(again, guide=weights)
