"""Random masking."""

from typing import Any

import torch
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.pretraining.maskers.masker import Masker, NoSettings, uniform
from myosotis.pretraining.token_mask import TokenMask, mask_from_scores


class RandomMasker(Masker[NoSettings]):
    """All sets of as many tokens are hidden with the same probability."""

    card = MethodCard(
        name="random",
        title="Random masking (MAE)",
        paper="He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022",
        reads="images",
        memory="nothing",
        purpose="The reference. The best masking ratio depends on the data.",
    )
    Settings = NoSettings

    def __call__(self, tokens: Tensor, *, ratio: float, generator: torch.Generator, **_: Any) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        return mask_from_scores(uniform(tokens, generator), ratio)
