"""How the adapters of a training start by FILA: Fisher information of its records, and the factors from it."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.engine.processes import process_indices, share, sum_over_processes
from myosotis.unlearning.language.adapters.fila import Epsilon, apply_fila, lora_layers
from myosotis.unlearning.language.adapters.fisher import fisher_information, fisher_row_sums
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.records import TrainingRecords
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


def start_by_fila(model: Any, records: TrainingRecords, args: UnlearnConfig) -> dict[str, Tensor]:
    """Initialise the adapters of a PEFT model in place, and return their initial factors.

    Args:
        model: A PEFT LoRA model.
        records: The records of the training.
        args: Settings of the training.

    Raises:
        ValueError: See :func:`~myosotis.unlearning.language.apply_fila`.
    """
    measure = fisher_information if args.fila_fisher == "element" else fisher_row_sums
    names = [f"base_model.model.{name}.base_layer" for name, _ in lora_layers(model)]

    def fisher_of(examples: Sequence[Example]) -> dict[str, Tensor]:
        size = args.fila_batch_size
        batches = [examples[start : start + size] for start in range(0, len(examples), size)]
        # Processes share the batches where each has one; where not, each does all of them.
        shared = len(batches) >= share()[1]
        own = [batches[index] for index in process_indices(len(batches))] if shared else batches
        made = (batch for rows in own for batch in records.batches(rows, size))
        return measure(model, made, names, sum_over_processes if shared else None)

    # The retain side is what an epoch would pair the forget side with, whether training reads it or not.
    sampler = PairSampler(len(records.forget), len(records.retain), args.retain_per_forget, args.seed)
    paired = sorted({index for _, indices in sampler.pairs(0) for index in indices})
    # FILA replaces what the adapters hold, so only the base matters; without the adapters it is half the work.
    with model.disable_adapter():
        # On the CPU until a layer needs them: in float32 either is as large as the weights.
        forget = {name: values.cpu() for name, values in fisher_of(records.forget).items()}
        retain = fisher_of([records.retain[index] for index in paired]) if paired else None
    return apply_fila(model, forget, retain, cast(Epsilon, args.fila_epsilon))
