"""Statistics of masks over an epoch."""

from typing import Any

import torch
from torch import Tensor

from myosotis.pretraining.maskers.masker import Masker
from myosotis.pretraining.token_mask import TokenMask


class MaskStatistics:
    """What masks were like over some batches; nothing is copied from the device until it is asked for.

    Args:
        masker: Whose masks they are.
    """

    def __init__(self, masker: Masker[Any]) -> None:
        self._masker = masker
        self._ratios: list[Tensor] = []
        self._sums: dict[str, list[Tensor]] = {}

    def add(self, mask: TokenMask) -> None:
        """Count the masks of a batch."""
        tokens = mask.hidden.shape[1]
        self._ratios.append(1 - mask.counts.float() / tokens)
        if mask.guide is None:
            return
        for name, value in self._masker.guide_statistics(mask.guide).items():
            self._add(name, value)
        hidden = mask.hidden.float()
        kept = 1 - hidden
        self._add("guide_of_hidden", ((mask.guide * hidden).sum(dim=1) / hidden.sum(dim=1)).mean())
        self._add("guide_of_visible", ((mask.guide * kept).sum(dim=1) / kept.sum(dim=1)).mean())

    def told(self) -> dict[str, float]:
        """Return the realised ratio (mean, smallest, largest) and, of guided masks, what they followed; start anew.

        ``guide_of_hidden`` and ``guide_of_visible`` are means of what the masker was guided by; beside them stands what
        its :meth:`~.maskers.masker.Masker.guide_statistics` tells.
        """
        ratios = torch.cat(self._ratios)
        found = {
            "ratio": ratios.mean().item(),
            "ratio_min": ratios.min().item(),
            "ratio_max": ratios.max().item(),
        }
        found |= {name: torch.stack(values).mean().item() for name, values in self._sums.items()}
        self._ratios, self._sums = [], {}
        return found

    def _add(self, name: str, value: Tensor) -> None:
        self._sums.setdefault(name, []).append(value.detach())
