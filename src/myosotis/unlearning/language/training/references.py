"""What losses ask of the model before unlearning: computed once, kept on the CPU, no copy of the model."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from myosotis.data.encoding import IGNORED, Example
from myosotis.engine.errors import SettingsError
from myosotis.unlearning.language.methods.term import ReferenceKind, Side, SideName, WeightedTerm
from myosotis.unlearning.language.methods.token_losses import sequence_log_probs
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


@dataclass(frozen=True)
class Shifted:
    """What a forward pass gave, shifted: ``labels[:, t]`` belong to ``logits[:, t]`` and ``hidden[block][:, t]``."""

    labels: Tensor
    logits: Tensor
    hidden: Mapping[int, Tensor] = field(default_factory=dict)


Forward = Callable[[Sequence[Example]], Shifted]


def reference_needs(terms: Sequence[WeightedTerm]) -> list[tuple[SideName, ReferenceKind]]:
    """Return what terms ask for of the model before unlearning, by side."""
    return sorted({need for _, term in terms for need in term.needs})


def dealt_records(
    terms: Sequence[WeightedTerm],
    examples: Mapping[SideName, Sequence[Example]],
    sampler: PairSampler,
    args: UnlearnConfig,
) -> dict[SideName, set[int]]:
    """Return the records of each side whose logits or hidden states training will compare with the old model's."""
    dealt = {side: set(range(len(records))) for side, records in examples.items()}
    if not {("retain", "logits"), ("retain", "hidden")} & set(reference_needs(terms)):
        return {**dealt, "retain": set()}
    epochs = math.ceil(args.num_train_epochs)
    if args.max_steps > 0:
        batches = math.ceil(len(sampler) / (args.train_batch_size * args.world_size))
        epochs = math.ceil(args.max_steps / math.ceil(batches / args.gradient_accumulation_steps))
    pairs = (pair for epoch in range(epochs) for pair in sampler.pairs(epoch))
    return {**dealt, "retain": {index for _, indices in pairs for index in indices if index >= 0}}


def check_reference_size(
    model: Any,
    terms: Sequence[WeightedTerm],
    examples: Mapping[SideName, Sequence[Example]],
    dealt: Mapping[SideName, Collection[int]],
    limit_gb: float,
) -> None:
    """Refuse to keep more logits or hidden states of the old model than may be kept.

    Args:
        model: The model.
        terms: Of the method.
        examples: All records of each side.
        dealt: Those of them that training will see.
        limit_gb: The most that may be kept.

    Raises:
        SettingsError: They would be more.
    """
    itemsize = next(model.parameters()).dtype.itemsize
    blocks = len({block for _, term in terms for block in term.blocks})
    for kind, width in (("logits", model.config.vocab_size), ("hidden", max(blocks, 1) * model.config.hidden_size)):
        tokens = sum(
            label != IGNORED
            for side, needed in reference_needs(terms)
            if needed == kind
            for index in dealt[side]
            for label in examples[side][index].labels[1:]
        )
        gigabytes = tokens * width * itemsize / 1e9
        if gigabytes > limit_gb:
            raise SettingsError(
                f"the method would keep {gigabytes:.2g} GB of reference {kind}, more than reference_cache_gb="
                f"{limit_gb:g}; use another method or retain term, fewer epochs or fewer records"
            )


class References:
    """The old model's answers to those records that training will deal.

    Args:
        forward: Runs the model on a few examples, without gradients.
        batch_size: Records per forward pass.
    """

    def __init__(self, forward: Forward, batch_size: int) -> None:
        self._forward = forward
        self._batch_size = batch_size
        self.log_probs: dict[SideName, Tensor] = {}
        self.logits: dict[SideName, dict[int, Tensor]] = {}
        self.hidden: dict[SideName, dict[int, dict[int, Tensor]]] = {}

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
