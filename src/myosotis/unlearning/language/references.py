"""What losses ask of the model before unlearning: computed once, kept on the CPU, no copy of the model."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from myosotis.data.encoding import IGNORED, Example
from myosotis.unlearning.language.losses import sequence_log_probs
from myosotis.unlearning.language.methods.term import ReferenceKind, Side, SideName


@dataclass(frozen=True)
class Shifted:
    """What a forward pass gave, shifted: ``labels[:, t]`` belong to ``logits[:, t]`` and ``hidden[block][:, t]``."""

    labels: Tensor
    logits: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


Forward = Callable[[Sequence[Example]], Shifted]


class References:
    """The old model's answers to those records that training will deal.

    Args:
        forward: Runs the model on a few examples, without gradients.
        batch_size: Records per forward pass.
        limit_gb: More than this is not kept.
    """

    def __init__(self, forward: Forward, batch_size: int, limit_gb: float) -> None:
        self._forward = forward
        self._batch_size = batch_size
        self._limit_gb = limit_gb
        self.log_probs: dict[SideName, Tensor] = {}
        self.logits: dict[SideName, dict[int, Tensor]] = {}
        self.hidden: dict[SideName, dict[int, dict[int, Tensor]]] = {}

    def refuse_too_much(self, what: str, numbers: int, itemsize: int) -> None:
        """Raise ``ValueError`` if so many numbers are more than may be kept."""
        gigabytes = numbers * itemsize / 1e9
        if gigabytes > self._limit_gb:
            raise ValueError(
                f"the method would keep {gigabytes:.1f} GB of reference {what}, more than reference_cache_gb="
                f"{self._limit_gb:g}; use another method or retain term, fewer epochs or fewer records"
            )

    def remember(
        self, side: SideName, kind: ReferenceKind, examples: Sequence[Example], dealt: Collection[int]
    ) -> None:
        """Compute and keep what a term needs of one part.

        Args:
            side: The part.
            kind: What of the old model.
            examples: All records of the part.
            dealt: Those of them that training will see.
        """
        if kind == "log_probs":
            values = torch.zeros(len(examples))
            for begin in range(0, len(examples), self._batch_size):
                chunk = examples[begin : begin + self._batch_size]
                seen = self._forward(chunk)
                values[begin : begin + len(chunk)] = sequence_log_probs(seen.logits, seen.labels).float().cpu()
            self.log_probs[side] = values
            return
        for index in sorted(dealt):
            seen = self._forward([examples[index]])
            labelled = seen.labels != IGNORED
            if kind == "logits":
                self.logits.setdefault(side, {})[index] = seen.logits[labelled].cpu()
            else:
                for block, states in seen.hidden.items():
                    self.hidden.setdefault(side, {}).setdefault(block, {})[index] = states[labelled].cpu()

    def attach(self, name: SideName, side: Side, indices: Sequence[int]) -> None:
        """Put what is kept of a part beside its rows.

        Args:
            name: The part.
            side: Its rows; reference fields are filled in where something is kept.
            indices: The record of each row; negative for an empty row.
        """
        device = side.labels.device
        if name in self.log_probs:
            side.reference_log_probs = self.log_probs[name][list(indices)].to(device)
        if name in self.logits:
            side.reference_logits = _placed(self.logits[name], side.labels, indices)
        if name in self.hidden:
            side.reference_hidden = {
                block: _placed(kept, side.labels, indices) for block, kept in self.hidden[name].items()
            }


def _placed(kept: Mapping[int, Tensor], labels: Tensor, indices: Sequence[int]) -> Tensor:
    """Rows (labelled tokens, width) of several records at their places in a padded batch."""
    rows = torch.cat([kept[index] for index in indices if index >= 0] or [next(iter(kept.values()))[:0]])
    placed = torch.zeros((*labels.shape, rows.shape[-1]), dtype=rows.dtype, device=labels.device)
    placed[labels != IGNORED] = rows.to(labels.device)
    return placed
