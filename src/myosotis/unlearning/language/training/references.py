"""What losses read of the model before unlearning: computed once, kept on the CPU, without a copy of the model."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from myosotis.data.encoding import IGNORED, Example
from myosotis.engine.errors import SettingsError
from myosotis.unlearning.language.methods.term import ReferenceKind, Side, SideName, WeightedTerm
from myosotis.unlearning.language.methods.token_losses import sequence_log_probs
from myosotis.unlearning.language.training.forward_pass import Shifted
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.records import TrainingRecords
from myosotis.unlearning.language.training.strangers import Strangers
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig

Forward = Callable[[dict[str, Any]], Shifted]


def reference_needs(terms: Sequence[WeightedTerm]) -> list[tuple[SideName, ReferenceKind]]:
    """Return the outputs of the model before unlearning that terms read, by side."""
    return sorted({need for _, term in terms for need in term.needs})


def dealt_records(
    terms: Sequence[WeightedTerm],
    examples: Mapping[SideName, Sequence[Example]],
    sampler: PairSampler,
    args: UnlearnConfig,
) -> dict[SideName, set[int]]:
    """Return the indices of the records of each side that training compares with the old model."""
    dealt = {side: set(range(len(records))) for side, records in examples.items()}
    if not {("retain", "logits"), ("retain", "hidden")} & set(reference_needs(terms)):
        return {**dealt, "retain": set()}
    epochs = math.ceil(args.num_train_epochs)
    if args.max_steps > 0:
        batches = math.ceil(len(sampler) / (args.train_batch_size * args.world_size))
        epochs = math.ceil(args.max_steps / math.ceil(batches / args.gradient_accumulation_steps))
    pairs = (pair for epoch in range(epochs) for pair in sampler.pairs(epoch))
    return {**dealt, "retain": {index for _, indices in pairs for index in indices if index >= 0}}


def reference_bytes(
    config: Any,
    itemsize: int,
    terms: Sequence[WeightedTerm],
    examples: Mapping[SideName, Sequence[Example]],
    dealt: Mapping[SideName, Collection[int]],
) -> dict[ReferenceKind, int]:
    """Return the bytes of the logits and of the hidden states of the old model that terms read.

    Args:
        config: Configuration of the model.
        itemsize: Bytes of a number.
        terms: Terms of the method.
        examples: All records of each side.
        dealt: Indices of the records that training will deal.
    """
    blocks = len({block for _, term in terms for block in term.blocks})
    vocabulary: int = config.vocab_size
    widths: dict[ReferenceKind, int] = {
        "logits": vocabulary,
        "hidden": max(blocks, 1) * config.hidden_size,
        "teacher": vocabulary,
    }
    tokens = {
        kind: sum(
            label != IGNORED
            for side, needed in reference_needs(terms)
            if needed == kind
            for index in dealt[side]
            for label in examples[side][index].labels[1:]
        )
        for kind in widths
    }
    return {kind: tokens[kind] * width * itemsize for kind, width in widths.items()}


def check_reference_size(
    model: Any,
    terms: Sequence[WeightedTerm],
    examples: Mapping[SideName, Sequence[Example]],
    dealt: Mapping[SideName, Collection[int]],
    limit_gb: float,
) -> None:
    """Refuse to keep more logits or hidden states of the old model than the limit.

    Args:
        model: The model.
        terms: Terms of the method.
        examples: All records of each side.
        dealt: Indices of the records that training will deal.
        limit_gb: Limit in gigabytes.

    Raises:
        SettingsError: They would take more.
    """
    itemsize = next(model.parameters()).dtype.itemsize
    for kind, size in reference_bytes(model.config, itemsize, terms, examples, dealt).items():
        gigabytes = size / 1e9
        if gigabytes > limit_gb:
            raise SettingsError(
                f"the method would keep {gigabytes:.2g} GB of reference {kind}, more than reference_cache_gb="
                f"{limit_gb:g}; use another method or retain term, fewer epochs or fewer records"
            )


class References:
    """Outputs of the old model on those records that training will deal.

    Args:
        forward: Runs the model on a padded batch, without gradients.
        records: The records of the training.
        batch_size: Records per forward pass.
        strangers: The same forget records about strangers, for a counterfactual teacher.
    """

    def __init__(
        self, forward: Forward, records: TrainingRecords, batch_size: int, strangers: Strangers | None = None
    ) -> None:
        self._forward = forward
        self._records = records
        self._batch_size = batch_size
        self.log_probs: dict[SideName, Tensor] = {}
        self.logits: dict[SideName, dict[int, Tensor]] = {}
        self.hidden: dict[SideName, dict[int, dict[int, Tensor]]] = {}
        self.teacher: dict[SideName, dict[int, Tensor]] = {}
        self._strangers = strangers

    def compute(
        self,
        model: Any,
        terms: Sequence[WeightedTerm],
        sampler: PairSampler,
        args: UnlearnConfig,
        teacher: Forward | None = None,
    ) -> None:
        """Compute and keep what terms ask for of the model as it is now.

        Args:
            model: The model.
            terms: The terms of the method.
            sampler: Deals retain records to forget records.
            args: Settings of the training.
            teacher: Runs a model that never saw the forget records, in place of strangers; not kept.

        Raises:
            SettingsError: More would be kept than ``reference_cache_gb`` allows.
        """
        examples = self._records.by_side
        dealt = dealt_records(terms, examples, sampler, args)
        check_reference_size(model, terms, examples, dealt, args.reference_cache_gb)
        for side, kind in reference_needs(terms):
            if kind == "log_probs":
                outputs = map(self._forward, self._records.batches(examples[side], self._batch_size))
                values = [sequence_log_probs(output.logits, output.labels).float().cpu() for output in outputs]
                self.log_probs[side] = torch.cat(values)
            elif kind == "teacher":
                indices = sorted(dealt[side])
                records = [examples[side][index] for index in indices]
                rows = map(self._about_strangers, indices) if teacher is None else self._log_probs(teacher, records)
                self.teacher[side] = dict(zip(indices, rows, strict=True))
            else:
                self._keep(side, kind, sorted(dealt[side]), examples[side])

    def _keep(self, side: SideName, kind: ReferenceKind, indices: Sequence[int], examples: Sequence[Example]) -> None:
        """Keep logits or hidden states at the labelled tokens of records."""
        left = iter(indices)
        for output in map(self._forward, self._records.batches([examples[i] for i in indices], self._batch_size)):
            for row, labels in enumerate(output.labels):
                index, labelled = next(left), labels != IGNORED
                if kind == "logits":
                    self.logits.setdefault(side, {})[index] = output.logits[row][labelled].cpu()
                else:
                    for block, states in output.hidden.items():
                        self.hidden.setdefault(side, {}).setdefault(block, {})[index] = states[row][labelled].cpu()

    def _log_probs(self, forward: Forward, examples: Sequence[Example]) -> list[Tensor]:
        """Log-probabilities at the labelled tokens of each example, (tokens, vocab)."""
        return [
            logits[labels != IGNORED].float().log_softmax(dim=-1).cpu()
            for output in map(forward, self._records.batches(examples, self._batch_size))
            for logits, labels in zip(output.logits, output.labels, strict=True)
        ]

    def _about_strangers(self, index: int) -> Tensor:
        """Log-probabilities of the teacher of names at the facts of a forget record, (tokens, vocab)."""
        if self._strangers is None:
            raise ValueError("a counterfactual teacher needs the records about strangers")
        return self._strangers.teacher(index, self._log_probs(self._forward, self._strangers.by_record[index]))

    def attach(self, name: SideName, side: Side, indices: Sequence[int]) -> None:
        """Set the reference fields of a part of a batch.

        Args:
            name: The part.
            side: Its rows; fields of what is not kept stay None.
            indices: Index of the record of each row; negative for an empty row.
        """
        device = side.labels.device
        if name in self.log_probs:
            side.reference_log_probs = self.log_probs[name][list(indices)].to(device)
        if name in self.logits:
            side.reference_logits = _padded(self.logits[name], side.labels, indices)
        if name in self.teacher:
            side.teacher = _padded(self.teacher[name], side.labels, indices)
        if name in self.hidden:
            side.reference_hidden = {
                block: _padded(rows, side.labels, indices) for block, rows in self.hidden[name].items()
            }


def _padded(rows: Mapping[int, Tensor], labels: Tensor, indices: Sequence[int]) -> Tensor:
    """Rows (labelled tokens, width) of several records as a padded batch (batch, time, width)."""
    values = torch.cat([rows[index] for index in indices if index >= 0] or [next(iter(rows.values()))[:0]])
    padded = torch.zeros((*labels.shape, values.shape[-1]), dtype=values.dtype, device=labels.device)
    padded[labels != IGNORED] = values.to(labels.device)
    return padded
