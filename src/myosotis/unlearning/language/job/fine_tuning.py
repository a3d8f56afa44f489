"""Plain fine-tuning on records: teaches a model what it is to forget, for demonstrations."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback, TrainingArguments

from myosotis.data.encoding import IGNORED, Example, pad_examples, pad_token_id
from myosotis.engine.checkpoint import newest_complete
from myosotis.engine.processes import gather_by_index, is_main_process
from myosotis.unlearning.language.job.callbacks import quiet
from myosotis.unlearning.language.job.config import OptimisationConfig
from myosotis.unlearning.language.job.trainer_settings import optimisation_arguments
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.checkpoints import SealedTrainer
from myosotis.unlearning.language.training.forward_pass import ForwardPass
from myosotis.unlearning.language.training.precision import cast_back, upcast_trained, with_autocast
from myosotis.unlearning.language.training.sharding import sharded_training
from myosotis.unlearning.language.training.trainer_config import use_one_device

BETWEEN_CHECKPOINTS = 600.0
"""Seconds of teaching between checkpoints."""


def fine_tune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    settings: OptimisationConfig,
    *,
    seed: int,
    directory: Path,
    description: str = "fine-tuning",
) -> None:
    """Train the weights that are not frozen on the labelled tokens, in place; the loss is a mean over each step's.

    Weights in half precision are trained in float32 and rounded at the end.

    Args:
        model: A causal language model.
        tokenizer: The model's tokenizer.
        examples: Examples to learn.
        settings: Settings of the training.
        seed: Seed of the order.
        directory: Directory of the trainer: it goes on from the newest checkpoint there, and writes one at the end of
            an epoch that is ten minutes after the last. They hold what was learnt; the caller removes them.
        description: Title of the progress display.
    """
    arguments = TrainingArguments(
        **optimisation_arguments(settings),
        output_dir=str(directory),
        seed=seed,
        report_to="none",
        remove_unused_columns=False,
        save_total_limit=1,
    )
    use_one_device(arguments)
    dtypes = upcast_trained(model, arguments.device)
    trainer = _Teacher(
        model=model,
        args=with_autocast(arguments, dtypes),
        train_dataset=list(examples),
        data_collator=_Collator(pad_token_id(tokenizer)),
        processing_class=tokenizer,
    )
    quiet(trainer, description)
    trainer.add_callback(_Saver())
    checkpoint = newest_complete(directory)
    with sharded_training(trainer):
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    # Mixed precision wraps the model's forward.
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    cast_back(model, dtypes)
    model.eval()


class _Saver(TrainerCallback):
    """Saves at the end of an epoch, if the last checkpoint is long ago by the clock of the main process."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Start the clock."""
        self._last = time.monotonic()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for a checkpoint."""
        due = {0: time.monotonic() - self._last >= BETWEEN_CHECKPOINTS} if is_main_process() else {}
        if gather_by_index(due)[0]:
            control.should_save, self._last = True, time.monotonic()


class _Teacher(SealedTrainer):
    """Computes logits at labelled positions only: the largest tensor of a step is those of all positions."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Return the negative log-likelihood of the labelled tokens, as a mean over those of the whole step."""
        shifted = ForwardPass(self.model, (), nullcontext)(model, inputs)
        total = -token_log_probs(shifted.logits, shifted.labels).sum()
        labelled = (shifted.labels != IGNORED).sum()
        # The count is of all processes, over which gradients are averaged.
        loss = total / labelled if num_items_in_batch is None else total / num_items_in_batch * self.args.world_size
        return (loss, {"logits": shifted.logits}) if return_outputs else loss


class _Collator:
    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        return pad_examples(examples, self._pad_id)
