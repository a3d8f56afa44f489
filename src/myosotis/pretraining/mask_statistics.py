"""Statistics of masks over an epoch."""

from typing import Any

import torch
from torch import Tensor

from myosotis.engine.loop import numbers_of
from myosotis.pretraining.maskers.masker import Masker
from myosotis.pretraining.token_mask import TokenMask


class MaskStatistics:
    """Statistics of masks over several batches; nothing is copied from the device until :meth:`summary`.

    Args:
        masker: The masker that made the masks.
    """

    def __init__(self, masker: Masker[Any]) -> None:
        self._masker = masker
        self._ratios: list[Tensor] = []
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, mask: TokenMask) -> None:
        """Add the masks of a batch."""
        tokens = mask.hidden.shape[1]
        self._ratios.append(1 - mask.counts.float() / tokens)
        if mask.guide is None:
            return
        for name, value in self._masker.guide_statistics(mask.guide).items():
            self._add(name, value)
        hidden = mask.hidden.float()
        visible = 1 - hidden
        self._add("guide_of_hidden", ((mask.guide * hidden).sum(dim=1) / hidden.sum(dim=1)).mean())
        self._add("guide_of_visible", ((mask.guide * visible).sum(dim=1) / visible.sum(dim=1)).mean())

    def summary(self) -> dict[str, float]:
        """Return the realised ratio (mean, smallest, largest) and statistics of the guide, and reset.

        ``guide_of_hidden`` and ``guide_of_visible`` are means of the guide of the masker; what its
        :meth:`~.maskers.masker.Masker.guide_statistics` returns is averaged, too.
        """
        ratios = torch.cat(self._ratios)
        summary = {"ratio": ratios.mean(), "ratio_min": ratios.min(), "ratio_max": ratios.max()}
        summary |= {name: torch.stack(values).mean() for name, values in self._sums.items()}
        self._ratios, self._sums = [], {}
        return numbers_of(summary)

    def _add(self, name: str, value: Tensor) -> None:
        self._sums.setdefault(name, []).append(value.detach())
